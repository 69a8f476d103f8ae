//! What a shard's thread awaits beside its sockets: a `LocalExecutor` whose tasks run between two turns.
//!
//! Signals and the reading of certificates live here. The executor sleeps where the shard sleeps: a task that becomes
//! ready wakes the shard's poller.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use smol::LocalExecutor;

use crate::poll::Poll;

struct Alarm {
    poll: Poll,
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.poll.wake();
    }
}

/// The tasks of one shard.
pub struct Tasks {
    alarm: Arc<Alarm>,
    waker: Waker,
    run: Pin<Box<dyn Future<Output = ()>>>,
}

impl Tasks {
    /// Tasks that run on `executor`, whose shard sleeps in `poll`.
    pub fn new(executor: Rc<LocalExecutor<'static>>, poll: &Poll) -> Self {
        let alarm = Arc::new(Alarm { poll: poll.clone(), rung: AtomicBool::new(true) });
        let waker = Waker::from(alarm.clone());
        let run = Box::pin(async move { executor.run(std::future::pending::<()>()).await });
        // Tasks begin to await what they await in their first turn, which must not need a connection to come.
        poll.wake();
        Tasks { alarm, waker, run }
    }

    /// Runs the tasks that have become ready since the last call.
    pub fn turn(&mut self) {
        if self.alarm.rung.swap(false, Ordering::AcqRel) {
            // The future never ends: it is there to be stepped.
            let _ = self.run.as_mut().poll(&mut Context::from_waker(&self.waker));
        }
    }
}
