//! What is true of every plan, which the modules' own tests state.

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

fn expect_properties(module: &str) {
    let oldest = &providers().oldest;
    let tree = Tree::new(module, oldest);
    let told = run(oldest.start().attach(&mut tree.terraform("test")));
    println!("{told}");
    // One that finds no test succeeds too.
    assert!(told.contains("Success!") && !told.contains("Success! 0 passed"), "{told}");
    // What is tested does not depend on the provider; what it accepts does.
    for provider in &providers().newer {
        run(&mut Tree::new(module, provider).terraform("validate"));
    }
}
