//! Ctrl-C and SIGTERM: the first asks the command to end, the second ends it.

use async_signal::{Signal, Signals};
use smol::channel::{Receiver, Sender, bounded};
use smol::stream::StreamExt;

use crate::failure::Failure;

/// Exit code of a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// Hears the first signal. A channel that nothing is sent on: it closes at the signal and so stays heard.
#[derive(Clone, Debug)]
pub struct Interrupt {
    closes: Receiver<()>,
    /// Where the system gives no signals: keeps the channel open, and Ctrl-C does what it does by itself.
    _deaf: Option<Sender<()>>,
}

impl Interrupt {
    /// Attends to the signals from here on.
    pub fn attend() -> Self {
        #[cfg(unix)]
        let wanted = [Signal::Int, Signal::Term];
        #[cfg(not(unix))]
        let wanted = [Signal::Int];
        let (sender, closes) = bounded(1);
        let Ok(mut signals) = Signals::new(wanted) else { return Interrupt { closes, _deaf: Some(sender) } };
        let attend = async move {
            signals.next().await;
            drop(sender);
            signals.next().await;
            std::process::exit(i32::from(INTERRUPTED));
        };
        smol::spawn(attend).detach();
        Interrupt { closes, _deaf: None }
    }

    /// Returns once there was a signal, however often it is asked.
    pub async fn heard(&self) {
        // Nothing is ever sent: the only answer is that the channel is closed.
        let _ = self.closes.recv().await;
    }

    /// Does `work` unless a signal comes first.
    ///
    /// # Errors
    /// Those of `work`, and [`Failure::Interrupted`].
    pub async fn unless<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let unfinished = async {
            self.heard().await;
            Err(Failure::Interrupted)
        };
        smol::future::or(work, unfinished).await
    }
}
