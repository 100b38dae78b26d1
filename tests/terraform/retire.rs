//! The script that removes images which nothing needs any more.

use std::process::Output;

use serde_json::{Value, json};

use crate::emulator::{Emulator, REGION};
use crate::{command, said};

const OURS: [(&str, &str); 1] = [("Service", "hello-birthday")];

#[test]
fn exactly_what_nothing_needs_is_removed_and_only_when_it_is_asked_for() {
    let emulator = Emulator::start();
    let image = |name: &str| emulator.register_image_with(name, &OURS);
    let billing = emulator.register_image_with("billing", &[("Service", "billing")]);
    let [forgotten, failed, templated, stopped, shared] =
        ["forgotten", "failed", "templated", "stopped", "shared"].map(image);
    let releases = ["1", "2", "3"].map(image);
    let unreleased = image("unreleased");

    use_in_template(&emulator, &templated);
    use_in_stopped_instance(&emulator, &stopped);
    let add = json!({ "Add": [{ "UserId": "210987654321" }] });
    let launch = json!({ "ImageId": shared, "LaunchPermission": add });
    emulator.aws("ec2.modify_image_attribute", launch);
    // The last two releases are the third one and one that failed; a rollback would go to
    // the second.
    for release in [&releases[0], &releases[1], &releases[2], &failed, &releases[2]] {
        record(&emulator, "production", release);
    }
    let orphan = leave_snapshot(&emulator);

    let retired = [&forgotten, &releases[0]].map(|id| (id.clone(), snapshot_of(&emulator, id)));
    let mut expected: Vec<_> =
        retired.iter().map(|(id, snapshot)| format!("image={id} snapshot={snapshot}")).collect();
    expected.push(format!("snapshot={orphan}"));

    let before = images(&emulator);
    let looked = retire(&emulator, &["--keep", "2"]);
    assert_eq!(lines(&looked), expected, "{}", said(&looked));
    assert!(said(&looked).contains("nothing was removed"), "{}", said(&looked));
    assert_eq!(images(&emulator), before);

    let removed = retire(&emulator, &["--keep", "2", "--delete"]);
    assert_eq!(lines(&removed), expected, "{}", said(&removed));
    let [_, second, third] = releases;
    let mut kept = [billing, failed, templated, stopped, shared, second, third, unreleased];
    kept.sort();
    assert_eq!(images(&emulator), kept);
    let left = snapshots(&emulator);
    assert!(
        retired.iter().all(|(_, snapshot)| !left.contains(snapshot)) && !left.contains(&orphan)
    );
    assert!(kept.iter().all(|id| left.contains(&snapshot_of(&emulator, id))));

    let again = retire(&emulator, &["--keep", "2", "--delete"]);
    assert_eq!(lines(&again), [] as [&str; 0], "{}", said(&again));
}

#[test]
fn without_a_recorded_release_every_image_is_kept() {
    let emulator = Emulator::start();
    emulator.register_image("baked");
    let outcome = retire(&emulator, &["--keep", "2", "--delete"]);
    assert_eq!(lines(&outcome), [] as [&str; 0]);
    assert!(said(&outcome).contains("no release is recorded"), "{}", said(&outcome));
    assert_eq!(images(&emulator).len(), 1);
}

#[test]
fn retiring_keeps_a_release_to_go_back_to() {
    for (arguments, told) in [
        (&["--keep", "1"][..], "--keep is 2 or more"),
        (&[], "--keep"),
        (&["--keep", "x"], "--keep"),
    ] {
        let mut retire = command("terraform/retire-images");
        let refused = retire.args(arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(told), "{}", said(&refused));
    }
}

/// In a version that is neither the first nor the last.
fn use_in_template(emulator: &Emulator, image: &str) {
    let data = |image: &str| json!({ "ImageId": image, "InstanceType": "t4g.small" });
    let other = data("ami-0123456789abcdef0");
    let template = json!({ "LaunchTemplateName": "of-others", "LaunchTemplateData": other });
    let id =
        emulator.aws("ec2.create_launch_template", template)["LaunchTemplate"]["LaunchTemplateId"]
            .take();
    for data in [data(image), other] {
        let version = json!({ "LaunchTemplateId": id, "LaunchTemplateData": data });
        emulator.aws("ec2.create_launch_template_version", version);
    }
}

fn use_in_stopped_instance(emulator: &Emulator, image: &str) {
    let run =
        json!({ "ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t4g.small" });
    let id = emulator.aws("ec2.run_instances", run)["Instances"][0]["InstanceId"].take();
    emulator.aws("ec2.stop_instances", json!({ "InstanceIds": [id] }));
}

/// As Packer tags it, and without an image.
fn leave_snapshot(emulator: &Emulator) -> String {
    let volume = json!({ "AvailabilityZone": "eu-central-1a", "Size": 8 });
    let volume = emulator.aws("ec2.create_volume", volume)["VolumeId"].take();
    let tags = [("Service", "hello-birthday"), ("Checksum", "sha256:0")]
        .map(|(key, value)| json!({ "Key": key, "Value": value }));
    let tags = json!([{ "ResourceType": "snapshot", "Tags": tags }]);
    let snapshot = json!({ "VolumeId": volume, "TagSpecifications": tags });
    emulator.aws("ec2.create_snapshot", snapshot)["SnapshotId"].as_str().unwrap().to_owned()
}

fn record(emulator: &Emulator, environment: &str, image: &str) {
    let parameter = json!({
        "Name": format!("/hello-birthday/{environment}/image"),
        "Value": image,
        "Type": "String",
        "Overwrite": true,
    });
    emulator.aws("ssm.put_parameter", parameter);
}

fn described(emulator: &Emulator) -> Vec<Value> {
    let images = emulator.aws("ec2.describe_images", json!({ "Owners": ["self"] }));
    images["Images"].as_array().unwrap().clone()
}

fn images(emulator: &Emulator) -> Vec<String> {
    let images = described(emulator).into_iter();
    let mut ids: Vec<_> =
        images.map(|image| image["ImageId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn snapshot_of(emulator: &Emulator, id: &str) -> String {
    let images = described(emulator);
    let image = images.iter().find(|image| image["ImageId"] == id).unwrap();
    image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"].as_str().unwrap().to_owned()
}

fn snapshots(emulator: &Emulator) -> Vec<String> {
    let snapshots = emulator.aws("ec2.describe_snapshots", json!({ "OwnerIds": ["self"] }));
    let snapshots = snapshots["Snapshots"].as_array().unwrap().iter();
    snapshots.map(|one| one["SnapshotId"].as_str().unwrap().to_owned()).collect()
}

fn retire(emulator: &Emulator, arguments: &[&str]) -> Output {
    let mut retire = command("terraform/retire-images");
    let output =
        emulator.enter(&mut retire).args(arguments).env("AWS_REGION", REGION).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    output
}

fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}
