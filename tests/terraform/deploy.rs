//! The script that releases an image: what it refuses, and how it acts on Terraform's outcome.
//! A stand-in plays Terraform here; that the script releases and goes back for real is seen
//! where stacks are applied.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::emulator::Emulator;
use crate::roll::Tools;
use crate::tree::copy;
use crate::{command, said};

#[test]
fn an_image_that_is_not_the_services_or_older_than_what_runs_is_refused() {
    let environment = Environment::new("refuses");
    let early = [("Service", "hello-birthday"), ("Committed", "2026-01-31T12:00:00Z")];
    let late = [("Service", "hello-birthday"), ("Committed", "2026-01-31T12:00:01Z")];
    let image = |name: &str, tags| EMULATOR.register_image_with(name, tags);
    let before = image("baked-before", &late);
    let running = image("running", &late);
    // Its commit is older, although it was baked later.
    let older = image("older", &early);
    let other = image("billing", &[("Service", "billing")]);
    environment.record(&running);

    for (image, told) in [
        (&*older, "is older than"),
        (&*before, "is older than"),
        (&*other, "is not an image of hello-birthday"),
        ("ami-0123456789abcdef0", "there is no image"),
    ] {
        let refused = environment.deploy(&["--image", image], 4);
        assert!(refused.contains(told) && refused.contains("nothing was changed"), "{refused}");
    }
    assert_eq!(environment.calls(), [] as [String; 0]);

    environment.deploy(&["--image", &older, "--rollback"], 0);
    let newer = image("newer", &late);
    environment.deploy(&["--image", &newer], 0);
    let [back, forth] = &*environment.applied() else { panic!("two were applied") };
    assert_eq!(*back, format!("{older} true"));
    assert_eq!(*forth, format!("{newer} false"));
}

#[test]
fn a_rollback_goes_to_the_release_before_and_not_to_one_that_was_rolled_back() {
    let environment = Environment::new("goes-back");
    let [first, second, third] =
        ["first", "second", "third"].map(|name| EMULATOR.register_image(name));
    let refused = environment.deploy(&["--previous"], 4);
    assert!(refused.contains("no release before"), "{refused}");

    for (release, before) in
        [(&first, None), (&second, Some(&first)), (&third, Some(&second)), (&second, Some(&first))]
    {
        environment.record(release);
        match before {
            Some(before) => {
                let said = environment.deploy(&["--previous"], 0);
                assert!(said.contains(&format!("\nimage={before}\n")), "{said}");
                assert_eq!(environment.applied().last(), Some(&format!("{before} true")));
            }
            None => drop(environment.deploy(&["--previous"], 4)),
        }
    }
}

#[test]
fn releases_are_listed_newest_first_with_what_is_known_of_them() {
    let environment = Environment::new("lists");
    let tags = [("Service", "hello-birthday"), ("Version", "1.2.3"), ("Commit", "0123abc")];
    let known = EMULATOR.register_image_with("known", &tags);
    environment.record(&known);
    environment.record("ami-0123456789abcdef0");
    let listed = environment.deploy(&["--releases"], 0);
    let [newest, oldest] = listed.trim().lines().collect::<Vec<_>>()[..] else {
        panic!("{listed}")
    };
    assert!(newest.starts_with("ami-0123456789abcdef0 - - 2"), "{newest}");
    assert!(oldest.starts_with(&format!("{known} 1.2.3 0123abc 2")), "{oldest}");
    assert!(oldest.ends_with('Z'), "{oldest}");
}

#[test]
fn what_failed_decides_what_is_applied_next() {
    let [before, wanted] = ["before", "wanted"].map(|name| EMULATOR.register_image(name));
    let (forth, back) = (&*format!("{wanted} false"), &*format!("{before} true"));
    for (name, recorded, applies, code, applied, told) in [
        ("rolled-back", &*before, "3 0", 3, &[forth, back][..], "was rolled back"),
        ("unseen", &before, "5 0", 0, &[forth, forth], "following it"),
        ("unseen-back", &before, "3 5 0", 3, &[forth, back, back], "following it"),
        ("twice", &before, "3 1", 1, &[forth, back], "may be of either release"),
        ("first", "", "3", 1, &[forth], "there is no release before"),
        ("same", &wanted, "3", 1, &[forth], "its settings are at fault"),
    ] {
        let environment = Environment::new(name);
        if !recorded.is_empty() {
            environment.record(recorded);
        }
        environment.plan_applies(applies);
        let outcome = environment.deploy(&["--image", &wanted], code);
        assert!(outcome.contains(told), "{name}: {outcome}");
        assert_eq!(environment.applied(), applied, "{name}");
        let runs = if code == 3 { &before } else { &wanted };
        assert_eq!(outcome.contains(&format!("\nimage={runs}\n")), code != 1, "{name}: {outcome}");
    }
}

#[test]
fn a_plan_that_fails_changes_nothing() {
    let environment = Environment::new("plan-fails");
    environment.record(&EMULATOR.register_image("recorded"));
    environment.write("plan-code", "1");
    let wanted = EMULATOR.register_image("wanted-in-vain");
    let outcome = environment.deploy(&["--image", &wanted], 1);
    assert!(outcome.contains("nothing was changed"), "{outcome}");
    assert_eq!(environment.calls().len(), 1, "{:?}", environment.calls());
}

#[test]
fn a_plan_takes_no_lock_and_is_for_its_owner_alone() {
    let environment = Environment::new("plans");
    let file = environment.folder.path().join("plan.json");
    let plan = ["--plan", file.to_str().unwrap()];
    let unknown = environment.deploy(&plan, 1);
    assert!(unknown.contains("deploy one with --image"), "{unknown}");

    environment.record(&EMULATOR.register_image("planned"));
    fs::write(&file, "of before").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    for (code, changes) in [("2", "changes=true"), ("0", "changes=false")] {
        environment.write("plan-code", code);
        let planned = environment.deploy(&plan, 0);
        assert!(planned.starts_with(&format!("{changes}\n")), "{planned}");
        // Its text may hold secrets.
        assert!(!planned.contains("text of a plan"), "{planned}");
        assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"resource_changes": []}"#);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(environment.calls()[0].contains("-lock=false"), "{:?}", environment.calls());
}

#[test]
fn a_signal_reaches_terraform_once_and_its_end_is_waited_for() {
    let environment = Environment::new("signals");
    environment.plan_applies("waits");
    let image = EMULATOR.register_image("interrupted");
    let mut deploy = environment.command(&["--image", &image]);
    let mut running = deploy.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "waiting"), "Terraform is not waited for");
    for signal in [Signal::INT, Signal::TERM] {
        kill_process(Pid::from_child(&running), signal).unwrap();
    }
    let rest: Vec<_> = lines.collect();
    // Of two signals, either may reach a process first.
    let (code, told) = (running.wait().unwrap().code().unwrap(), rest.last().unwrap());
    let expected = [(130, "ended by SIGINT"), (143, "ended by SIGTERM")];
    assert!(
        expected.iter().any(|(of, says)| code == *of && told.contains(says)),
        "{code}: {rest:?}"
    );
    assert_eq!(rest.iter().filter(|line| *line == "interrupted").count(), 1, "{rest:?}");
}

#[test]
fn old_versions_of_the_launch_template_are_deleted_but_those_in_use() {
    let environment = Environment::new("tidies");
    let image = EMULATOR.register_image("tidied");
    let data = json!({ "ImageId": image, "InstanceType": "t4g.small" });
    let template = json!({ "LaunchTemplateName": environment.stack(), "LaunchTemplateData": data });
    let made = EMULATOR.aws("ec2.create_launch_template", template);
    let id = &made["LaunchTemplate"]["LaunchTemplateId"];
    for _ in 2..=9 {
        let next = json!({ "LaunchTemplateId": id, "LaunchTemplateData": data });
        EMULATOR.aws("ec2.create_launch_template_version", next);
    }
    let group = json!({
        "AutoScalingGroupName": environment.stack(),
        "MinSize": 1,
        "MaxSize": 1,
        "AvailabilityZones": ["eu-central-1a"],
        "LaunchTemplate": { "LaunchTemplateId": id, "Version": "2" },
    });
    EMULATOR.aws("autoscaling.create_auto_scaling_group", group);

    environment.deploy(&["--image", &image], 0);
    let named = json!({ "LaunchTemplateId": id });
    let left = EMULATOR.aws("ec2.describe_launch_template_versions", named);
    let left = left["LaunchTemplateVersions"].as_array().unwrap().iter();
    let mut left: Vec<_> = left.map(|version| version["VersionNumber"].as_u64().unwrap()).collect();
    left.sort_unstable();
    // The default, that of the group, and the newest five.
    assert_eq!(left, [1, 2, 5, 6, 7, 8, 9]);
}

#[test]
fn wrong_arguments_are_distinguished_and_help_lists_the_exit_codes() {
    let environment = Environment::new("wrong");
    for (arguments, told) in [
        (&[][..], "required"),
        (&["--image", "resolve:ssm:/newest"], "a plain id"),
        (&["--previous", "--rollback"], "--rollback goes with --image"),
        (&["--previous", "--releases"], "not allowed with"),
        (&["--previous", "--nonsense"], "--nonsense"),
    ] {
        let outcome = environment.deploy(arguments, 2);
        assert!(outcome.contains(told), "{arguments:?}: {outcome}");
    }
    let mut unknown = command("terraform/deploy");
    let unknown = unknown.args(["nowhere", "--releases"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("environments/nowhere.tfvars"), "{}", said(&unknown));
    let help = environment.deploy(&["--help"], 0);
    assert!(help.contains("3    the release failed and the image before it runs"), "{help}");
}

static EMULATOR: LazyLock<Emulator> = LazyLock::new(Emulator::start);

/// Records how it is called. The file `applies` says how each apply ends, one after the other:
/// as `roll` does with an exit code, or only when it is interrupted.
const TERRAFORM: &str = r#"
    cd "$STAND_IN"
    echo "$*" >>calls
    case $1 in
    plan)
        echo "the text of a plan"
        exit "$(cat plan-code 2>/dev/null || echo 2)"
        ;;
    show) printf '{"resource_changes": []}' ;;
    output) echo '{"url": {"value": "https://hello.example.com"}, "dashboard_url": {"value": "d"}}' ;;
    apply)
        read -ra ends < <(cat applies 2>/dev/null || echo 0)
        echo "${ends[@]:1}" >applies
        case ${ends[0]} in
        0 | "") ;;
        waits)
            # Not in bash, which may miss a signal that arrives as it begins or ends a wait.
            exec python3 -c '
import signal
def end(*_):
    print("interrupted", flush=True)
    raise SystemExit(1)
signal.signal(signal.SIGINT, end)
print("waiting", flush=True)
while True: signal.pause()
'
            ;;
        *)
            echo "Error running command './roll': exit status ${ends[0]}. Output: none"
            exit 1
            ;;
        esac
        ;;
    esac"#;

/// An environment of its own, and a Terraform that only says it did something.
struct Environment {
    name: String,
    folder: TempDir,
    tools: Tools,
}

impl Environment {
    fn new(name: &str) -> Environment {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let terraform = folder.path().join("terraform");
        fs::create_dir(&terraform).unwrap();
        copy(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform"), &terraform);
        let settings = format!("environment = \"{name}\"\nregion = \"eu-central-1\"\n");
        fs::write(terraform.join(format!("environments/{name}.tfvars")), settings).unwrap();
        let tools = Tools::new(&[]);
        tools.add("terraform", TERRAFORM);
        Environment { name: name.to_owned(), folder, tools }
    }

    fn stack(&self) -> String {
        format!("hello-birthday-{}", self.name)
    }

    /// Records a release, as Terraform does.
    fn record(&self, image: &str) {
        let parameter = json!({
            "Name": format!("/hello-birthday/{}/image", self.name),
            "Value": image,
            "Type": "String",
            "Overwrite": true,
        });
        EMULATOR.aws("ssm.put_parameter", parameter);
    }

    /// Decides how the next applies end.
    fn plan_applies(&self, ends: &str) {
        self.write("applies", ends);
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), format!("{text}\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Tests that run in the background of a script would leave it ignored.
        let mut deploy = Command::new("env");
        deploy.arg("--default-signal=INT").arg(self.folder.path().join("terraform/deploy"));
        let path = std::env::var("PATH").unwrap();
        EMULATOR
            .enter(&mut deploy)
            .arg(&self.name)
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.tools.folder.path().display()))
            .env("STAND_IN", self.folder.path());
        deploy
    }

    /// Runs it to its end, which must be with this exit code.
    #[track_caller]
    fn deploy(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        said(&output)
    }

    /// How Terraform was called.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Each image that was applied, and whether to go back to it.
    fn applied(&self) -> Vec<String> {
        let plans = self.calls().into_iter().filter(|call| call.starts_with("plan"));
        plans
            .map(|plan| {
                let value = |name: &str| {
                    plan.split_once(name).unwrap().1.split(' ').next().unwrap().to_owned()
                };
                format!("{} {}", value("ami_id="), value("rollback="))
            })
            .collect()
    }
}
