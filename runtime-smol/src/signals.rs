//! What the operator's signals mean: SIGTERM and SIGINT drain, a second one ends the process at once, SIGHUP reads the
//! certificates again.

use std::io;
use std::sync::Arc;

use async_signal::{Signal, Signals};
use smol::LocalExecutor;
use smol::stream::StreamExt;
use wrs_core::config::Config;
use wrs_core::event::Event;

use crate::host::Log;
use crate::mesh::{Parcel, Way};

/// Starts the task that hears signals, on the executor of shard 0.
pub fn attend(executor: &LocalExecutor<'static>, config: Arc<Config>, ways: Vec<Way>, log: Log) -> io::Result<()> {
    #[cfg(unix)]
    let wanted = [Signal::Term, Signal::Int, Signal::Hup];
    #[cfg(not(unix))]
    let wanted = [Signal::Int];
    let mut signals = Signals::new(wanted)?;
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
    Ok(())
}

/// New connections get the certificates that the files hold now; files that cannot be used change nothing.
async fn reload(config: &Arc<Config>, ways: &[Way], log: &Log) {
    let config = config.clone();
    match smol::unblock(move || crate::certificates(&config)).await {
        Ok(Some(certificates)) => {
            ways.iter().for_each(|way| way.send(Parcel::Certificates(certificates.clone())));
            log.write(&Event::CertificatesRead);
        }
        Ok(None) => {}
        Err(why) => log.write(&Event::CertificatesRefused { why }),
    }
}
