//! Crashes under write load lose no acknowledged write, on either store.

use std::time::Duration;

use kplane_tests::history::Load;
use kplane_tests::{Server, Store};

const WRITERS: usize = 4;

fn the_server_crashes(store: Store) {
    let mut server = Server::start(store);
    server.create_vcp("load");
    let load = Load::start(&server.client().vcp("load"), WRITERS);
    for _ in 0..3 {
        load.more(200);
        server.kill();
        load.fails(Duration::from_secs(10));
        server.start_again();
    }
    load.more(200);
    load.stop_and_check();
}

#[test]
fn killed_under_load_on_a_file_it_loses_nothing() {
    the_server_crashes(Store::Embedded);
}

#[test]
fn killed_under_load_on_etcd_it_loses_nothing() {
    the_server_crashes(Store::Etcd);
}

#[test]
fn etcd_killed_under_load_loses_nothing_and_no_success_is_told() {
    let mut server = Server::start(Store::Etcd);
    server.create_vcp("load");
    let load = Load::start(&server.client().vcp("load"), WRITERS);
    for _ in 0..2 {
        load.more(200);
        server.kill_etcd();
        // What was under way may still be answered; then nothing is, until etcd is back.
        load.fails(Duration::from_secs(40));
        let before = load.acknowledged();
        load.fails(Duration::from_secs(40));
        assert_eq!(load.acknowledged(), before, "a write succeeded without etcd");
        server.resume_etcd();
    }
    load.more(200);
    // Both at once, as when the machine goes.
    server.kill();
    server.kill_etcd();
    load.fails(Duration::from_secs(10));
    server.resume_etcd();
    server.start_again();
    load.more(100);
    load.stop_and_check();
}
