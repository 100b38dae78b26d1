//! A group of instances behind the balancer, and how it is rolled: what an instance
//! refresh does in the cloud.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::balancer::{Balancer, Health, Target};
use crate::harness::{Service, wait_until};
use crate::load::TODAY;
use crate::network::{Network, Place};

/// Instances in a group that is as large as it should be.
pub const SIZE: usize = 3;

/// How long requests under way may take once an instance gets no new ones.
const DEREGISTRATION_DELAY: Duration = Duration::from_millis(300);

/// A new instance that is not healthy after this will not be.
const LAUNCH_MAX: Duration = Duration::from_secs(10);

/// An instance, as the balancer and the machine know it.
pub struct Instance {
    pub target: Target,
    pub service: Service,
    // Its network ends after it.
    pub place: Option<Place>,
}

/// What the instances of a group have in common.
pub struct Group<'a> {
    pub balancer: &'a Balancer,
    database: String,
    folder: Arc<TempDir>,
    network: Option<&'a Network>,
    pub instances: Vec<Instance>,
}

/// A release to launch instances of.
#[derive(Clone, Copy)]
pub struct Release<'a> {
    pub binary: &'a Path,
    /// What is wrong with it.
    pub fault: &'a str,
    /// How long a new instance must stay healthy before an old one goes.
    pub bake: Duration,
}

impl<'a> Release<'a> {
    /// A release with nothing wrong.
    pub fn good(binary: &'a Path) -> Release<'a> {
        Release { binary, fault: "", bake: Duration::ZERO }
    }
}

/// Why a roll stopped: what the new instance did not do.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    NotHealthy,
    NotHealthyForLong,
}

impl<'a> Group<'a> {
    /// Starts a full group, all of whose instances are healthy.
    pub fn start(
        balancer: &'a Balancer,
        database: String,
        folder: Arc<TempDir>,
        network: Option<&'a Network>,
        release: Release,
    ) -> Group<'a> {
        let mut group = Group { balancer, database, folder, network, instances: Vec::new() };
        group.fill(release);
        group
    }

    /// Launches instances until the group is full.
    pub fn fill(&mut self, release: Release) {
        while self.instances.len() < SIZE {
            let instance = self.launch(release);
            self.wait_until_healthy(&instance).expect("a healthy instance");
            self.instances.push(instance);
        }
    }

    /// Replaces every instance by one of `release`, one after the other. Where a new one
    /// fails, it is taken away again, and the rest stay as they are.
    pub fn roll(&mut self, release: Release) -> Result<(), Stopped> {
        for _ in 0..self.instances.len() {
            let new = self.launch(release);
            let healthy = self.wait_until_healthy(&new);
            if let Err(stopped) = healthy.and_then(|()| self.bake(&new, release.bake)) {
                self.take_away(new);
                return Err(stopped);
            }
            self.instances.push(new);
            let old = self.instances.remove(0);
            self.retire(old);
        }
        Ok(())
    }

    /// Where each instance serves by itself.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.instances.iter().map(|instance| instance.service.address)
    }

    fn launch(&self, release: Release) -> Instance {
        let place = self.network.map(|network| network.new_place());
        let mut command = match &place {
            None => Command::new(release.binary),
            Some(place) => place.command(release.binary),
        };
        command.args(["--database-url", &self.database, "--today", TODAY]);
        command.env("FAULT", release.fault);
        let service = Service::spawn(&self.folder, command);
        let target = self.balancer.register(service.address, service.admin);
        Instance { target, service, place }
    }

    fn wait_until_healthy(&self, instance: &Instance) -> Result<(), Stopped> {
        let deadline = Instant::now() + LAUNCH_MAX;
        while self.balancer.health(&instance.target) != Health::Healthy {
            if Instant::now() > deadline {
                return Err(Stopped::NotHealthy);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn bake(&self, instance: &Instance, time: Duration) -> Result<(), Stopped> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if self.balancer.health(&instance.target) != Health::Healthy {
                return Err(Stopped::NotHealthyForLong);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends an instance that serves.
    fn retire(&self, instance: Instance) {
        let Instance { target, service, place } = instance;
        self.balancer.deregister(&target);
        // The balancer does not tell when the last request is done; the cloud waits too.
        thread::sleep(DEREGISTRATION_DELAY);
        self.balancer.forget(target);
        service.stop();
        drop(place);
    }

    /// Ends an instance that does not serve as it should.
    pub fn take_away(&self, instance: Instance) {
        let Instance { target, service, place } = instance;
        self.balancer.forget(target);
        service.kill();
        drop(place);
    }

    /// Waits until the balancer gives an instance no more traffic.
    pub fn wait_until_unhealthy(&self, instance: &Instance) {
        wait_until("the balancer notices", || {
            (self.balancer.health(&instance.target) == Health::Unhealthy).then_some(())
        });
    }
}
