//! A group of instances behind the balancer, and how it is rolled: what an instance
//! refresh does in the cloud.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::balancer::{Balancer, Health, Target};
use crate::harness::{Service, wait_until};
use crate::load::TODAY;
use crate::network::{Network, Place};

/// Instances in a full group.
pub const SIZE: usize = 3;

/// A new instance that still answers that it is not ready is given up no sooner.
const LAUNCH_MIN: Duration = Duration::from_secs(3);

/// An instance, as the balancer and the machine know it.
pub struct Instance {
    pub target: Target,
    pub service: Service,
    // Dropped after the service that runs in it.
    pub place: Option<Place>,
}

/// What the instances of a group have in common.
pub struct Group<'a> {
    pub balancer: &'a Balancer,
    pub database: String,
    pub folder: Arc<TempDir>,
    pub network: Option<&'a Network>,
    pub instances: Vec<Instance>,
}

/// A release to launch instances of.
#[derive(Clone, Copy)]
pub struct Release<'a> {
    pub binary: &'a Path,
    pub flags: &'a [&'a str],
    /// What is wrong with it.
    pub fault: &'a str,
}

/// Why a roll stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The new instance did not get ready.
    NotReady,
    /// It was healthy, and is no longer.
    Unhealthy,
}

impl Group<'_> {
    /// Launches instances until the group is full and healthy.
    pub fn fill(&mut self, release: Release) {
        while self.instances.len() < SIZE {
            self.add(release);
        }
    }

    /// Launches one more instance.
    pub fn add(&mut self, release: Release) {
        let instance = self.launch(release);
        self.wait_until_healthy(&instance).expect("a healthy instance");
        self.instances.push(instance);
    }

    /// Replaces every instance by one of `release`, one after the other, each once `bake` has
    /// watched the new one. Where a new one fails, it is removed, and the others stay.
    pub fn roll(
        &mut self,
        release: Release,
        bake: impl Fn(&Instance) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        for _ in 0..self.instances.len() {
            let new = self.launch(release);
            if let Err(stopped) = self.wait_until_healthy(&new).and_then(|()| bake(&new)) {
                self.remove(new);
                return Err(stopped);
            }
            self.instances.push(new);
            let old = self.instances.remove(0);
            self.retire(old);
        }
        Ok(())
    }

    /// Where each instance serves by itself.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.service.address).collect()
    }

    fn launch(&self, release: Release) -> Instance {
        let place = self.network.map(|network| network.new_place());
        let mut command = match &place {
            None => Command::new(release.binary),
            Some(place) => place.command(release.binary),
        };
        command.args(["--database-url", &self.database, "--today", TODAY]);
        command.args(release.flags).env("FAULT", release.fault);
        let service = Service::spawn(&self.folder, command);
        let target = self.balancer.register(service.address, service.admin);
        Instance { target, service, place }
    }

    fn wait_until_healthy(&self, instance: &Instance) -> Result<(), Stopped> {
        let launched = Instant::now();
        wait_until("the balancer finds a new instance healthy, or not ready", || {
            match self.balancer.health(&instance.target) {
                Health::Healthy => Some(Ok(())),
                Health::NotReady if launched.elapsed() > LAUNCH_MIN => Some(Err(Stopped::NotReady)),
                Health::NotReady | Health::Unhealthy => None,
            }
        })
    }

    /// Stops an instance that serves.
    fn retire(&self, instance: Instance) {
        let Instance { target, service, place } = instance;
        self.balancer.deregister(&target);
        self.balancer.wait_until_idle(&target);
        self.balancer.forget(target);
        service.stop();
        drop(place);
    }

    /// Removes an instance that does not serve as it should.
    pub fn remove(&self, instance: Instance) {
        let Instance { target, service, place } = instance;
        self.balancer.forget(target);
        service.kill();
        drop(place);
    }
}

/// Waits until the balancer sends an instance no more requests.
pub fn wait_until_unhealthy(balancer: &Balancer, instance: &Instance) {
    wait_until("the balancer notices", || {
        (balancer.health(&instance.target) != Health::Healthy).then_some(())
    });
}
