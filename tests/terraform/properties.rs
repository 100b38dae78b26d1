//! What is true of every plan, which the modules' own tests state.

use std::collections::BTreeSet;

use crate::providers::providers;
use crate::run;
use crate::tree::Tree;

#[test]
fn every_stack_has_its_properties() {
    expect_properties("");
}

#[test]
fn the_state_and_its_roles_have_their_properties() {
    expect_properties("bootstrap");
}

#[test]
fn a_protected_stack_refuses_before_anything_is_destroyed() {
    let tree = Tree::new("", &providers().oldest);
    let graph = run(&mut tree.terraform("graph"));
    let (mut parts, mut needs) = (BTreeSet::new(), Vec::new());
    for line in graph.lines() {
        match line.split('"').collect::<Vec<_>>()[..] {
            [_, from, " -> ", to, ..] => needs.push((from, to)),
            [_, part, " [label=", ..] if !part.contains("data.aws_") => _ = parts.insert(part),
            _ => {}
        }
    }
    // Terraform destroys what depends on others before them.
    let mut guarded = BTreeSet::from(["terraform_data.protection"]);
    loop {
        let more = needs.iter().filter(|(from, _)| guarded.contains(from)).map(|(_, to)| *to);
        let more: BTreeSet<_> = guarded.iter().copied().chain(more).collect();
        if more == guarded {
            break;
        }
        guarded = more;
    }
    assert!(parts.len() > 80, "{graph}");
    let unguarded: Vec<_> = parts.difference(&guarded).collect();
    assert!(unguarded.is_empty(), "protection.tf does not depend on {unguarded:?}");
}

fn expect_properties(module: &str) {
    let tree = Tree::new(module, &providers().oldest);
    let told = run(&mut tree.terraform("test"));
    println!("{told}");
    // One that finds no test succeeds too.
    assert!(told.contains("Success!") && !told.contains("Success! 0 passed"), "{told}");
    // What is tested does not depend on the provider; what it accepts does.
    for provider in &providers().newer {
        run(&mut Tree::new(module, provider).terraform("validate"));
    }
}
