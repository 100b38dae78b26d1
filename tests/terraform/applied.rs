//! The cloud as Terraform makes it, rolls it and takes it down.

use std::fs;
use std::thread;

use serde_json::json;

use crate::emulator::Emulator;
use crate::permissions::{Account, Gate};
use crate::providers::providers;
use crate::stack::{Stack, of_interest};
use crate::tree::Tree;
use crate::{run, said};

#[test]
fn stacks_of_one_account_are_released_and_taken_down_beside_each_other_with_the_rights_of_their_roles()
 {
    let account = Account::shared();
    let gate = Gate::new(&account.emulator);
    let staging = Stack::new(account, &gate, "staging", "sqlite");
    let production = Stack::new(account, &gate, "production", "postgres");
    // It is shown for both databases that a protected one stays.
    staging.set("deletion_protection", "true");
    // Most of the time they wait for the load balancer and the database.
    thread::scope(|scope| {
        scope.spawn(|| {
            let first = release_first(&staging);
            release_next(&staging, &first);
            take_back(&staging, &first);
        });
        scope.spawn(|| {
            release_first(&production);
            release_what_is_left(&production);
        });
    });
    assert_eq!(gate.ask("refused"), json!([]));
    let allowed = gate.ask("allowed").as_array().unwrap().len();
    assert!(allowed > 150, "only {allowed} actions went through the gate");
    account.expect(&["StackRoles"]);
    // The gate does refuse.
    staging.expect_refused("apply-production");
    staging.expect_refused("plan");

    // What happens to one does not happen to the other.
    let before = production.described();
    release_what_is_left(&staging);
    staging.destroy();
    assert_eq!(production.described(), before);
    production.expect_nothing_to_do();
    production.destroy();
}

#[test]
fn states_have_a_bucket_that_is_not_taken_down() {
    let emulator = Emulator::start();
    let tree = Tree::new("bootstrap", &providers().oldest);
    let terraform = |subcommand: &str| {
        let mut terraform = tree.terraform(subcommand);
        emulator.enter(&mut terraform);
        terraform
    };
    let of_ours = "-var=repository=example/hello-birthday";
    run(terraform("apply").args(["-auto-approve", of_ours]));

    let plan = terraform("plan").args(["-detailed-exitcode", of_ours]).output().unwrap();
    assert_eq!(plan.status.code(), Some(0), "{}", of_interest(&plan));

    let destroyed = terraform("destroy").args(["-auto-approve", of_ours]).output().unwrap();
    assert!(!destroyed.status.success());
    assert!(said(&destroyed).contains("prevent_destroy"), "{}", said(&destroyed));

    // As its outputs say, its own state moves into the bucket; which asks for TLS, so that
    // its policy has to go first: the emulator speaks none.
    let backend = run(terraform("output").args(["-raw", "backend"]));
    let bucket = backend.lines().find_map(|line| line.trim().strip_prefix("bucket ")).unwrap();
    let bucket = bucket.trim_matches([' ', '=', '"']).to_owned();
    fs::write(tree.path("backend.tf"), backend).unwrap();
    fs::remove_file(tree.path("tests_override.tf")).unwrap();
    let move_state = || {
        let mut init = tree.init();
        emulator.enter(&mut init).args(["-migrate-state", "-force-copy"]);
        init.arg("-backend-config=use_path_style=true");
        init
    };
    let refused = move_state().output().unwrap();
    assert!(said(&refused).contains("Forbidden"), "{}", said(&refused));
    emulator.aws("s3.delete_bucket_policy", json!({ "Bucket": bucket }));
    run(&mut move_state());
    let state = json!({ "Bucket": bucket, "Key": "bootstrap.tfstate" });
    let state = emulator.aws("s3.head_object", state);
    assert_eq!(state["ServerSideEncryption"], "aws:kms");
}

/// The first release makes the stack; gives its image.
fn release_first(stack: &Stack) -> String {
    let first = stack.register_image("first");
    let released = stack.deploy(&["--image", &first], 0);
    assert!(released.contains(&format!("\nimage={first}\nprevious=\n")), "{released}");
    stack.expect_group(1, &first);
    // Any change would be something that was left undone.
    stack.expect_nothing_to_do();
    stack.expect_moved_in_steps();
    first
}

/// The second release works at its second attempt.
fn release_next(stack: &Stack, first: &str) {
    let second = stack.register_image("second");
    // It fails, and state, record and instances are as before.
    let instances = stack.instances();
    stack.fail_next_roll();
    let failed = stack.deploy(&["--image", &second], 3);
    for told in
        ["rolled back to the version before 2", "none was replaced", &format!("\nimage={first}\n")]
    {
        assert!(failed.contains(told), "{told:?} is not in: {failed}");
    }
    stack.expect_group(3, first);
    assert_eq!(stack.instances(), instances);
    stack.expect_nothing_to_do();

    let released = stack.deploy(&["--image", &second], 0);
    assert!(released.contains(&format!("\nimage={second}\nprevious={first}\n")), "{released}");
    stack.expect_group(4, &second);
}

/// A release that is taken back, which an alarm that is on does not stop.
fn take_back(stack: &Stack, first: &str) {
    stack.turn_alarm_on();
    let back = stack.deploy(&["--previous"], 0);
    assert!(back.contains("\nprevious=\n") && !back.contains("rolled back"), "{back}");
    stack.expect_group(5, first);
    stack.expect_nothing_to_do();
}

/// A stack that is protected refuses its end, but not without losing some parts and its record,
/// which the next release makes again.
fn release_what_is_left(stack: &Stack) {
    stack.expect_protected();
    stack.set("deletion_protection", "false");
    let again = stack.register_image("again");
    let released = stack.deploy(&["--image", &again], 0);
    assert!(released.contains(&format!("\nimage={again}\nprevious=\n")), "{released}");
}
