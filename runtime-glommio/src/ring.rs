//! Which sockets have something, and what: an io_uring of the shard's own, which is all that the shard waits in.
//!
//! glommio's own sockets make a system call for each read and each write, use its ring as a poller that is armed anew
//! after every event, and hold a task and a read buffer for each connection. Here one request per socket stays armed and
//! brings what arrives in buffers that the whole shard shares, and one call per turn hands over all requests, waits and
//! collects (ADR 10). A shard with nothing to do waits there as well.
//!
//! For room to write, and for the end of a socket that nobody reads, there is an epoll instance that the ring polls: a
//! poll request of the ring's own ends at once when the other side has sent all it will, wanted or not.
//!
//! This is the one module with `unsafe` in this crate. Three promises are kept here. Memory that the kernel writes to
//! (the shared buffers and the list of them) is never freed: a shard lives as long as its process. A buffer is either
//! the kernel's or lent to one [`Lent`], of which there is no copy. And bytes to be written are borrowed until the kernel
//! has said what became of them.
//!
//! A request names its socket by the descriptor, and the kernel looks it up when the request is handed over. So a socket
//! that ends is kept open until then ([`Ring::let_go`]): otherwise the next socket that is given the number would be read for
//! the one that has gone, and its first bytes would be lost.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::cell::RefCell;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, SubmitArgs};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};
use rustix::io::Errno;
use socket2::Socket;
use wrs_core::id::ConnId;

use crate::bell::Bell;

/// How long a shard waits at most: a wait that nothing ends, by whose fault ever, ends all the same.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Requests that are queued between two calls; more make one more call.
const REQUESTS: u32 = 256;
/// Results that have room between two calls; the kernel keeps the rest.
const RESULTS: u32 = 1024;
/// Buffers that the sockets of a shard share, a power of two. Sockets that find none left wait for the next turn.
const BUFFERS: u16 = 128;
/// Bytes in each, as many as the core takes at a time: a request that has filled a buffer goes on in the next turn, so that
/// smaller ones would split what belongs in one write. Memory is used as far as it has been filled.
const BUFFER: usize = 64 << 10;
/// From one buffer to the next. The odd line keeps their starts, which are all that small messages touch, from falling on the
/// same places of the cache.
const STRIDE: usize = BUFFER + 64;
/// Sockets that the epoll instance names with one call.
const WAITING_PER_CALL: usize = 64;
/// The one group of buffers.
const GROUP: u16 = 0;

/// `io_uring_enter`: collect results and run what waits to produce them.
const GET_EVENTS: u32 = 1;

/// `MSG_DONTWAIT | MSG_NOSIGNAL`: a socket that has no room is an error, and so is one that is gone.
const WITHOUT_WAITING: i32 = 0x4040;

/// What a request is for: the lowest byte of the number that comes back with its result.
const RECEIVE: u8 = 1;
const WAIT: u8 = 2;
const CANCEL: u8 = 3;
const BELL: u8 = 4;
const LISTEN: u8 = 5;
const SEND: u8 = 6;

/// A result's number: the socket's index, 24 bits of its generation, and what was asked. A generation comes round after
/// sixteen million sockets in one place, each of which ended its requests.
fn number(id: ConnId, request: u8) -> u64 {
    u64::from(id.index) << 32 | u64::from(id.generation & 0xFF_FFFF) << 8 | u64::from(request)
}

/// What happened, and at which socket.
pub struct Event {
    number: u64,
    /// What it was.
    pub what: What,
    /// The buffer that came with it. Give it back with [`Buffers::give_back`], or there is one less.
    pub lent: Option<Lent>,
}

impl Event {
    /// The slab's index of the socket, or a listener's key.
    pub fn key(&self) -> usize {
        (self.number >> 32) as usize
    }

    /// Whether it is for this socket, not for one that had its place before.
    pub fn is_for(&self, id: ConnId) -> bool {
        self.number >> 8 == number(id, 0) >> 8
    }
}

/// What can happen.
#[derive(Clone, Copy)]
pub enum What {
    /// Bytes arrived; the request goes on, or has ended.
    Received {
        /// Whether it goes on.
        more: bool,
    },
    /// The other end sends no more.
    Ended,
    /// The request to receive has ended, but not because of the socket: no buffer was left, or nobody wants it any more.
    Rested,
    /// The socket is gone.
    Gone,
    /// There is room to write, or the socket has failed. Told once for each time that it is wanted.
    Ready {
        /// Whether the socket has failed.
        dead: bool,
    },
    /// Somebody connects.
    Connecting,
}

/// A buffer that the kernel has filled.
pub struct Lent {
    buffer: u16,
    len: usize,
}

/// The buffers of one shard.
pub struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Buffers {
    /// Buffers for this ring, all of them the kernel's.
    fn new(uring: &IoUring) -> io::Result<Self> {
        let room = |bytes: usize, align: usize| -> io::Result<*mut u8> {
            let layout = Layout::from_size_align(bytes, align).map_err(io::Error::other)?;
            // SAFETY: the size is not zero.
            let start = unsafe { alloc_zeroed(layout) };
            if start.is_null() { handle_alloc_error(layout) } else { Ok(start) }
        };
        // The list must start on a page. The buffers need not, and what need not is given zeroed without being touched.
        let entries = room(usize::from(BUFFERS) * size_of::<BufRingEntry>(), 4096)?.cast();
        let mut buffers = Buffers { entries, memory: room(usize::from(BUFFERS) * STRIDE, 1)?, tail: 0 };
        // SAFETY: the list has that many entries and is never freed.
        unsafe { uring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)? };
        for buffer in 0..BUFFERS {
            buffers.give_back(Lent { buffer, len: 0 });
        }
        Ok(buffers)
    }

    fn start(&self, buffer: u16) -> *mut u8 {
        // SAFETY: results name only buffers that we gave out, and those are below `BUFFERS`.
        unsafe { self.memory.add(usize::from(buffer % BUFFERS) * STRIDE) }
    }

    /// What has arrived.
    pub fn bytes(&mut self, lent: &Lent) -> &mut [u8] {
        // SAFETY: who has the `Lent` has the buffer: the kernel does not write to it, and there is one `Lent` for it. The
        // bytes were zero at first.
        unsafe { slice::from_raw_parts_mut(self.start(lent.buffer), lent.len.min(BUFFER)) }
    }

    /// The kernel may fill it again.
    pub fn give_back(&mut self, lent: Lent) {
        let start = self.start(lent.buffer);
        // SAFETY: the index is within the list; the kernel does not look at an entry beyond the tail; the tail lies in
        // the first entry, where no other field is.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(start as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(lent.buffer);
            self.tail = self.tail.wrapping_add(1);
            (*BufRingEntry::tail(self.entries).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }
}

struct Inner {
    uring: RefCell<IoUring>,
    bell: Arc<Bell>,
    /// Sockets that wait for room, or for their end.
    waiting: OwnedFd,
    /// Events that came while sockets were written.
    early: RefCell<Vec<Event>>,
    /// Sockets that have ended since the last call, which what is queued may still name.
    leaving: RefCell<Vec<Socket>>,
}

/// The ring of one shard, shared by its sockets.
#[derive(Clone)]
pub struct Ring(Rc<Inner>);

/// A ring as this server needs it; what it cannot do without came with Linux 6.1.
fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_cqsize(RESULTS)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .build(REQUESTS)
}

/// Whether this system has what a shard needs.
pub fn probe() -> io::Result<()> {
    build().map(drop)
}

impl Ring {
    /// A ring for the shard that `bell` wakes, and its buffers. To be called on the shard's thread, which alone may use it.
    pub fn new(bell: Arc<Bell>) -> io::Result<(Self, Buffers)> {
        let uring = build()?;
        let buffers = Buffers::new(&uring)?;
        let ring = Ring(Rc::new(Inner {
            waiting: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            uring: RefCell::new(uring),
            bell,
            early: RefCell::default(),
            leaving: RefCell::default(),
        }));
        ring.listen_to(&ring.0.bell.file, BELL)?;
        ring.listen_to(&ring.0.waiting, WAIT)?;
        Ok((ring, buffers))
    }

    /// Watches a socket, at first for what can be read.
    pub fn watch(&self, socket: Socket, id: ConnId) -> io::Result<Watched> {
        let (receive, wait, socket) = (Request::No, Wait::No, ManuallyDrop::new(socket));
        let mut watched = Watched { ring: self.clone(), socket, id, receive, wait };
        watched.want(true, false)?;
        Ok(watched)
    }

    /// Tells once, under a key of listeners, when somebody connects.
    pub fn await_connection(&self, listening: &Socket, key: usize) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(listening.as_raw_fd()), mask(PollFlags::IN)).build();
        self.request(poll.user_data((key as u64) << 32 | u64::from(LISTEN)))
    }

    /// Ends [`Ring::await_connection`].
    pub fn forget_connections(&self, key: usize) {
        self.cancel((key as u64) << 32 | u64::from(LISTEN));
    }

    /// Waits until something has happened, somebody rings the bell, or the time or [`WAIT_MAX`] is over. `events` is filled
    /// anew.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        events.append(&mut self.0.early.borrow_mut());
        let wait = if events.is_empty() { timeout.unwrap_or(WAIT_MAX).min(WAIT_MAX) } else { Duration::ZERO };
        let mail = wait.is_zero() || self.0.bell.begin();
        self.enter(if mail { Duration::ZERO } else { wait })?;
        self.take_results(events, |_, _| {})?;
        self.0.bell.end();
        Ok(())
    }

    /// Hands over what is queued and waits for the first result.
    fn enter(&self, wait: Duration) -> io::Result<()> {
        let mut uring = self.0.uring.borrow_mut();
        let entered = if wait.is_zero() {
            let queued = uring.submission().len() as u32;
            // SAFETY: there is no argument.
            unsafe { uring.submitter().enter::<u64>(queued, 0, GET_EVENTS, None) }
        } else {
            let wait = io_uring::types::Timespec::from(wait);
            uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&wait))
        };
        if uring.submission().is_empty() {
            self.0.leaving.borrow_mut().clear();
        }
        match entered {
            Ok(_) => Ok(()),
            // The time is over, a signal came, or results must be taken first.
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes the results: events, and what became of writes.
    fn take_results(&self, events: &mut Vec<Event>, mut written: impl FnMut(usize, i32)) -> io::Result<()> {
        let (mut deaf, mut waited, mut no_longer) = (false, false, false);
        for result in self.0.uring.borrow_mut().completion() {
            let number = result.user_data();
            let (what, lent) = match number as u8 {
                RECEIVE => received(&result),
                LISTEN => (What::Connecting, None),
                SEND => {
                    written((number >> 8) as usize, result.result());
                    continue;
                }
                BELL => {
                    deaf |= !cqueue::more(result.flags());
                    continue;
                }
                WAIT => {
                    waited = true;
                    no_longer |= !cqueue::more(result.flags());
                    continue;
                }
                _ => continue,
            };
            events.push(Event { number, what, lent });
        }
        if deaf {
            self.listen_to(&self.0.bell.file, BELL)?;
        }
        if no_longer {
            self.listen_to(&self.0.waiting, WAIT)?;
        }
        if waited { self.take_waiting(events) } else { Ok(()) }
    }

    /// Takes what the epoll instance has.
    fn take_waiting(&self, events: &mut Vec<Event>) -> io::Result<()> {
        loop {
            let mut ready = [const { MaybeUninit::uninit() }; WAITING_PER_CALL];
            let (ready, left) = match epoll::wait(&self.0.waiting, &mut ready, Some(&Timespec::default())) {
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            events.extend(ready.iter().map(|event| {
                let (flags, data) = (event.flags, event.data);
                let dead = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                Event { number: data.u64(), what: What::Ready { dead }, lent: None }
            }));
            if !left.is_empty() {
                return Ok(());
            }
        }
    }

    /// Tries a write to each socket, all with one call, and says how much each of them took.
    pub fn write(&self, writes: &[(&Socket, &[u8])]) -> Vec<usize> {
        let mut taken = vec![0; writes.len()];
        let mut under_way = 0;
        for (index, (socket, bytes)) in writes.iter().enumerate().filter(|(_, (_, bytes))| !bytes.is_empty()) {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), length).flags(WITHOUT_WAITING).build();
            match self.request(send.user_data((index as u64) << 8 | u64::from(SEND))) {
                Ok(()) => under_way += 1,
                Err(_) => break,
            }
        }
        let mut early = self.0.early.borrow_mut();
        while under_way > 0 {
            let gone_on = self.enter(Duration::ZERO).and_then(|()| {
                self.take_results(&mut early, |index, result| {
                    under_way -= 1;
                    if let (Some(taken), Ok(count)) = (taken.get_mut(index), usize::try_from(result)) {
                        *taken = count;
                    }
                })
            });
            if gone_on.is_err() {
                // A ring that takes no call any more, and has our bytes: nothing that follows would be sound.
                std::process::abort();
            }
        }
        taken
    }

    /// Closes a socket once nothing that is queued names it any more.
    fn let_go(&self, socket: Socket) {
        self.0.leaving.borrow_mut().push(socket);
    }

    /// Hears of a file whenever it becomes readable.
    fn listen_to(&self, file: &OwnedFd, request: u8) -> io::Result<()> {
        let poll = opcode::PollAdd::new(Fd(file.as_raw_fd()), mask(PollFlags::IN)).multi(true).build();
        self.request(poll.user_data(u64::from(request)))
    }

    fn cancel(&self, number: u64) {
        let cancel = opcode::AsyncCancel::new(number).build().flags(squeue::Flags::SKIP_SUCCESS);
        // An error means that the ring takes nothing any more: the next wait fails with it and the shard ends.
        let _ = self.request(cancel.user_data(u64::from(CANCEL)));
    }

    fn request(&self, request: squeue::Entry) -> io::Result<()> {
        let mut uring = self.0.uring.borrow_mut();
        loop {
            // SAFETY: a request names either no memory, or the group of buffers, which are never freed, or bytes that
            // `Ring::write` holds until the request has ended.
            if unsafe { uring.submission().push(&request).is_ok() } {
                return Ok(());
            }
            uring.submit()?;
        }
    }
}

fn mask(flags: PollFlags) -> u32 {
    u32::from(flags.bits())
}

/// What became of a request to receive.
fn received(result: &cqueue::Entry) -> (What, Option<Lent>) {
    let count = result.result();
    let lent = cqueue::buffer_select(result.flags()).map(|buffer| Lent { buffer, len: count.max(0) as usize });
    let what = match count {
        1.. => What::Received { more: cqueue::more(result.flags()) },
        0 => What::Ended,
        _ => match Errno::from_raw_os_error(count.saturating_neg()) {
            Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN => What::Rested,
            _ => What::Gone,
        },
    };
    (what, lent)
}

/// How far a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    /// There is none.
    No,
    /// It is armed.
    Armed,
    /// It is to end; a last result follows.
    Ending,
}

/// How a socket stands in the epoll instance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Not there.
    No,
    /// There, and told what it was to tell.
    Told,
    /// Tells once: room to write, if that is wanted, or its end.
    For {
        /// Whether it waits for room.
        room: bool,
    },
}

/// A socket and its requests in the ring.
pub struct Watched {
    ring: Ring,
    /// Its end is [`Ring::let_go`]'s.
    socket: ManuallyDrop<Socket>,
    id: ConnId,
    receive: Request,
    wait: Wait,
}

impl Watched {
    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes note of what has happened at this socket; [`Watched::want`] must follow.
    pub fn heard(&mut self, what: What) {
        match what {
            What::Ended | What::Rested | What::Gone | What::Received { more: false } => self.receive = Request::No,
            What::Ready { .. } => self.wait = Wait::Told,
            What::Received { more: true } | What::Connecting => {}
        }
    }

    /// Watches for what can be read, for room to write, for both or for neither. A request that is ending is made anew
    /// once it has ended.
    pub fn want(&mut self, read: bool, write: bool) -> io::Result<()> {
        match (self.receive, read) {
            (Request::No, true) => {
                let receive = opcode::RecvMulti::new(Fd(self.socket.as_raw_fd()), GROUP).build();
                self.ring.request(receive.user_data(number(self.id, RECEIVE)))?;
                self.receive = Request::Armed;
            }
            (Request::Armed, false) => {
                self.ring.cancel(number(self.id, RECEIVE));
                self.receive = Request::Ending;
            }
            _ => {}
        }
        // What is no longer wanted tells once at most.
        if (write || !read) && self.wait != (Wait::For { room: write }) {
            let wanted = if write { EventFlags::OUT } else { EventFlags::empty() } | EventFlags::ONESHOT;
            let data = EventData::new_u64(number(self.id, WAIT));
            match self.wait {
                Wait::No => epoll::add(&self.ring.0.waiting, &*self.socket, data, wanted)?,
                Wait::Told | Wait::For { .. } => epoll::modify(&self.ring.0.waiting, &*self.socket, data, wanted)?,
            }
            self.wait = Wait::For { room: write };
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A request holds the socket open until it has ended, and what is open stays in the epoll instance.
        if self.receive == Request::Armed {
            self.ring.cancel(number(self.id, RECEIVE));
        }
        if self.wait != Wait::No {
            let _ = epoll::delete(&self.ring.0.waiting, &*self.socket);
        }
        // SAFETY: it is not used after this.
        self.ring.let_go(unsafe { ManuallyDrop::take(&mut self.socket) });
    }
}

#[cfg(test)]
mod tests;
