//! What the operator's signals mean: SIGTERM and SIGINT drain, a second one ends the process at once, SIGHUP reads the
//! certificates again.

use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use wrs_core::config::Config;
use wrs_node::certificates::Certificates;
use wrs_node::log::Log;
use wrs_node::parcel::Parcel;

use crate::mesh::Way;

/// Takes signals from now on. Call it before the node says that it listens: whoever reads that may send one.
pub fn take() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Starts the thread that hears signals: glommio has no call for them.
pub fn attend(mut signals: Signals, config: Arc<Config>, ways: Vec<Way>, log: Log) -> io::Result<()> {
    let hear = move || {
        let mut draining = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => reload(&config, &ways, &log),
                _ if draining => std::process::exit(1),
                _ => {
                    draining = true;
                    ways.iter().for_each(|way| way.send(Parcel::Drain));
                }
            }
        }
    };
    // It ends with the process.
    std::thread::Builder::new().name("signals".to_owned()).spawn(hear).map(drop)
}

/// New connections get the certificates that the files hold now; files that cannot be used change nothing.
fn reload(config: &Config, ways: &[Way], log: &Log) {
    if let Some(certificates) = Certificates::read_again(config, log) {
        ways.iter().for_each(|way| way.send(Parcel::Certificates(certificates.clone())));
    }
}
