//! Attacks on the wall between control planes, by an adversary who administers one of them. Each has a name and the
//! reason it is tried; none may get through, on either store.
//!
//! An attack gets through when its own check says so, when an answer holds anything of the victim's, or when the victim
//! is not as it was.

mod calls;
mod controllers;
mod definitions;
mod disclosure;
mod events;
mod exhaustion;
mod floods;
mod identity;
mod names;
mod paths;
mod raw;
mod reads;
mod settings;
mod stored;
mod surfaces;
mod weaknesses;
mod world;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use kplane_tests::Store;
use world::World;

/// What an attack came to: nothing, or how it got through.
type Outcome = Result<(), String>;

/// One attack.
struct Attack {
    name: &'static str,
    /// Why it might work.
    why: &'static str,
    run: fn(&World) -> Outcome,
}

/// The whole list.
fn attacks() -> Vec<&'static Attack> {
    [
        paths::ATTACKS,
        names::ATTACKS,
        reads::ATTACKS,
        identity::ATTACKS,
        definitions::ATTACKS,
        calls::ATTACKS,
        disclosure::ATTACKS,
        weaknesses::ATTACKS,
        surfaces::ATTACKS,
        // Last, because they are loud.
        floods::ATTACKS,
        exhaustion::ATTACKS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn run_all(store: Store) {
    let world = World::new(store);
    let mut through = Vec::new();
    for attack in attacks() {
        let begun = Instant::now();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (attack.run)(&world)));
        let outcome = outcome.unwrap_or_else(|_| Err("the attack itself failed; see above".into()));
        let mut found: Vec<String> = outcome.err().into_iter().collect();
        found.extend(world.leaks());
        found.extend(world.untouched().err());
        println!("{:>6} ms  {}", begun.elapsed().as_millis(), attack.name);
        through.extend(found.into_iter().map(|how| format!("{} ({}): {how}", attack.name, attack.why)));
    }
    let log = world.server.log();
    through.extend(log.lines().filter(|line| line.contains("panic")).map(|line| format!("a panic: {line}")));
    assert!(through.is_empty(), "{} got through:\n{}", through.len(), through.join("\n"));
}

#[test]
fn no_attack_gets_through_on_the_embedded_store() {
    run_all(Store::Embedded);
}

#[test]
fn no_attack_gets_through_on_etcd() {
    run_all(Store::Etcd);
}

#[test]
fn every_attack_has_a_name_of_its_own() {
    let all = attacks();
    let names: BTreeSet<&str> = all.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), all.len(), "two attacks of one name");
    assert!(all.len() >= 60, "only {} attacks", all.len());
    assert!(all.iter().all(|attack| !attack.why.is_empty()));
}
