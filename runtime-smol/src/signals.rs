//! What the operator's signals mean: SIGTERM and SIGINT drain, a second one ends the process at once, SIGHUP reads the
//! certificates again.

use std::io;
use std::sync::Arc;

use async_signal::{Signal, Signals};
use smol::LocalExecutor;
use smol::stream::StreamExt;
use wrs_core::config::Config;
use wrs_node::certificates::Certificates;
use wrs_node::log::Log;
use wrs_node::parcel::Parcel;

use crate::mesh::Way;

/// Takes signals from now on. Call it before the node says that it listens: whoever reads that may send one.
pub fn take() -> io::Result<Signals> {
    #[cfg(unix)]
    let wanted = [Signal::Term, Signal::Int, Signal::Hup];
    #[cfg(not(unix))]
    let wanted = [Signal::Int];
    Signals::new(wanted)
}

/// Starts the task that hears signals, on the executor of shard 0.
pub fn attend(mut signals: Signals, executor: &LocalExecutor<'static>, config: Arc<Config>, ways: Vec<Way>, log: Log) {
    let task = async move {
        let mut draining = false;
        while let Some(Ok(signal)) = signals.next().await {
            match signal {
                Signal::Hup => reload(&config, &ways, &log).await,
                _ if draining => std::process::exit(1),
                _ => {
                    draining = true;
                    ways.iter().for_each(|way| way.send(Parcel::Drain));
                }
            }
        }
    };
    executor.spawn(task).detach();
}

/// New connections get the certificates that the files hold now; files that cannot be used change nothing.
async fn reload(config: &Arc<Config>, ways: &[Way], log: &Log) {
    let (config, log) = (config.clone(), log.clone());
    if let Some(certificates) = smol::unblock(move || Certificates::read_again(&config, &log)).await {
        ways.iter().for_each(|way| way.send(Parcel::Certificates(certificates.clone())));
    }
}
