//! What the core and the HTTP thread share of one HTTP link: a bounded pipe.
//!
//! The HTTP thread holds the response that goes on for as long as the link, and the POSTs. Up, the
//! pipe holds the frames of one POST, which is answered when the core has taken them. Down, it
//! holds at most [`CAPACITY`] bytes, like the send buffer of a socket; the rest waits in the core,
//! which counts it and cuts off who does not read.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::HttpBody;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use hyper::body::Frame;
use tokio::sync::Notify;

use super::body::Frames;
use super::events::{push_comment, push_frame, push_link};
use crate::core::{ToCore, ToCoreSender};
use crate::transport::{OutBuffer, ReadOutcome};

/// Bytes that wait for the response.
const CAPACITY: usize = 64 << 10;

/// What a link is called in the path of its POSTs: 128 random bits, since whoever knows them can
/// disturb the link.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LinkName([u8; 16]);

impl LinkName {
    fn random() -> Result<Self, getrandom::Error> {
        let mut name = [0; 16];
        getrandom::fill(&mut name)?;
        Ok(Self(name))
    }

    /// From 32 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not for logs.
        f.write_str("LinkName")
    }
}

/// Why a POST was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// The link is over, or there never was one.
    #[error("there is no such link, or it has ended; open a new one with GET")]
    NoLink,
    /// The POST before it has not been answered yet.
    #[error("the POST before this one has not been answered; send one at a time")]
    Busy,
}

#[derive(Debug)]
struct Pipe {
    core: ToCoreSender,
    state: Mutex<State>,
    /// The core has taken the frames of the POST, or closed the link.
    taken: Notify,
    /// Ends the connection of the response.
    cut: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The core's number for the link, once it has one.
    token: Option<usize>,
    /// The core has been told to look, and has not looked yet.
    signalled: bool,
    up: Up,
    down: Vec<u8>,
    /// Who waits for `down`.
    reader: Option<Waker>,
    /// The core has more for `down`.
    more: bool,
    /// The core takes no more frames.
    closed: bool,
    /// Nothing follows what is in `down`.
    finished: bool,
    /// The connection of the response is gone.
    gone: bool,
}

/// The POST under way.
#[derive(Debug, Default)]
enum Up {
    #[default]
    None,
    /// Its body is being read.
    Arriving,
    /// For the core.
    Waiting(Frames),
    /// The core has them, and has not used them up.
    Taken,
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the core look at the link, once.
    fn signal(&self, state: &mut State) {
        // Without a number the core will look by itself, when it takes the link over.
        if let Some(token) = state.token
            && !state.signalled
        {
            state.signalled = true;
            self.core.send(ToCore::LinkReady(token));
        }
    }
}

/// The HTTP links that there are, for the HTTP thread.
#[derive(Debug, Clone)]
pub(crate) struct Pipes {
    core: ToCoreSender,
    by_name: Arc<Mutex<HashMap<LinkName, Arc<Pipe>>>>,
}

impl Pipes {
    pub(crate) fn new(core: ToCoreSender) -> Self {
        Self { core, by_name: Arc::default() }
    }

    fn by_name(&self) -> MutexGuard<'_, HashMap<LinkName, Arc<Pipe>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a link. The core ends the response's connection by `cut`; it ends the link when the
    /// last clone of the [`Connected`] is dropped.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub(crate) fn open(
        &self,
        cut: Arc<Notify>,
    ) -> Result<(CoreEnd, Connected, Downstream), getrandom::Error> {
        let name = LinkName::random()?;
        let pipe = Arc::new(Pipe {
            core: self.core.clone(),
            state: Mutex::default(),
            taken: Notify::new(),
            cut,
        });
        self.by_name().insert(name, Arc::clone(&pipe));
        let mut out = OutBuffer::default();
        push_link(&mut out, &name.to_string());
        let end = CoreEnd { pipe: Arc::clone(&pipe), frames: Frames::default(), share: 0, out };
        let connected = Connected { pipes: self.clone(), name, pipe: Arc::clone(&pipe) };
        Ok((end, connected, Downstream(pipe)))
    }

    /// Begins a POST.
    ///
    /// # Errors
    /// Where there is no such link, or one is under way.
    pub(crate) fn post(&self, name: LinkName) -> Result<Post, NotTaken> {
        let pipe = self.by_name().get(&name).cloned().ok_or(NotTaken::NoLink)?;
        let mut state = pipe.state();
        if state.closed || state.gone {
            return Err(NotTaken::NoLink);
        }
        if !matches!(state.up, Up::None) {
            return Err(NotTaken::Busy);
        }
        state.up = Up::Arriving;
        drop(state);
        Ok(Post { pipe })
    }
}

/// Held by the connection of the response: when it is dropped, the link is over.
#[derive(Debug)]
pub(crate) struct Connected {
    pipes: Pipes,
    name: LinkName,
    pipe: Arc<Pipe>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.pipes.by_name().remove(&self.name);
        let mut state = self.pipe.state();
        state.gone = true;
        self.pipe.signal(&mut state);
        drop(state);
        self.pipe.taken.notify_one();
    }
}

/// A POST under way; while there is one, no other begins.
#[derive(Debug)]
pub(crate) struct Post {
    pipe: Arc<Pipe>,
}

impl Post {
    /// Hands the frames to the core and waits until it has taken them.
    ///
    /// # Errors
    /// [`NotTaken::NoLink`] where the link ended before; some may have been taken.
    pub(crate) async fn deliver(self, frames: Frames) -> Result<(), NotTaken> {
        {
            let mut state = self.pipe.state();
            state.up = Up::Waiting(frames);
            self.pipe.signal(&mut state);
        }
        loop {
            {
                let state = self.pipe.state();
                if matches!(state.up, Up::None) {
                    return Ok(());
                }
                if state.closed || state.gone {
                    return Err(NotTaken::NoLink);
                }
            }
            // A notification in between is kept: only one waits.
            self.pipe.taken.notified().await;
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut state = self.pipe.state();
        // Frames that are on their way are the core's, even where nobody waits any more.
        if matches!(state.up, Up::Arriving) {
            state.up = Up::None;
        }
    }
}

/// The body of the response.
#[derive(Debug)]
pub(crate) struct Downstream(Arc<Pipe>);

impl HttpBody for Downstream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut state = self.0.state();
        if !state.down.is_empty() {
            let bytes = std::mem::take(&mut state.down);
            if std::mem::take(&mut state.more) {
                self.0.signal(&mut state);
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
        }
        if state.finished {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The core's end. Dropping it ends the response after what is in the pipe.
#[derive(Debug)]
pub(crate) struct CoreEnd {
    pipe: Arc<Pipe>,
    /// Frames taken out of the pipe, not used up.
    frames: Frames,
    /// Bytes of them that may still be used in this turn.
    share: usize,
    out: OutBuffer,
}

impl CoreEnd {
    pub(crate) fn register(&self, token: usize) {
        self.pipe.state().token = Some(token);
    }

    /// The core looks at the link: from now on it wants to be told again.
    pub(crate) fn acknowledge(&self) {
        self.pipe.state().signalled = false;
    }

    /// Takes what has been posted; a turn may use `share` bytes of it.
    pub(crate) fn read(&mut self, share: usize) -> ReadOutcome {
        let mut state = self.pipe.state();
        if let Up::Waiting(frames) = &mut state.up {
            self.frames = std::mem::take(frames);
            state.up = Up::Taken;
        }
        self.share = share;
        if self.frames.remaining() > share {
            ReadOutcome::More
        } else if state.gone {
            ReadOutcome::Closed
        } else {
            ReadOutcome::Drained
        }
    }

    /// The next frame, as long as this turn's share lasts.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if self.share == 0 {
            return None;
        }
        let frame = self.frames.next()?;
        self.share = self.share.saturating_sub(frame.len());
        if self.frames.remaining() == 0 {
            self.used_up();
        }
        Some(frame)
    }

    pub(crate) fn discard(&mut self) {
        self.frames = Frames::default();
        self.used_up();
    }

    fn used_up(&self) {
        let mut state = self.pipe.state();
        if matches!(state.up, Up::Taken) {
            state.up = Up::None;
            drop(state);
            self.pipe.taken.notify_one();
        }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        push_frame(&mut self.out, frame);
    }

    pub(crate) fn comment(&mut self, text: &str) {
        push_comment(&mut self.out, text);
    }

    /// Takes no more frames; the last word is `reason`, if it has one.
    pub(crate) fn close(&mut self, reason: &str) {
        if !reason.is_empty() {
            self.comment(reason);
        }
        self.pipe.state().closed = true;
        self.pipe.taken.notify_one();
    }

    /// What the pipe has not taken.
    pub(crate) const fn out_len(&self) -> usize {
        self.out.len()
    }

    /// Moves to the pipe what it takes. True where nothing is left.
    pub(crate) fn write(&mut self) -> bool {
        let mut state = self.pipe.state();
        let room = CAPACITY.saturating_sub(state.down.len());
        let count = self.out.len().min(room);
        if count > 0 {
            state.down.extend_from_slice(&self.out.pending()[..count]);
            self.out.advance(count);
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
        state.more = !self.out.is_empty();
        !state.more
    }

    /// Ends the response after what is in the pipe.
    pub(crate) fn finish(&self) {
        let mut state = self.pipe.state();
        state.closed = true;
        state.finished = true;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        drop(state);
        self.pipe.taken.notify_one();
    }

    /// Ends the connection of the response, whatever is still to be sent.
    pub(crate) fn cut(&self) {
        self.pipe.cut.notify_one();
    }
}

impl Drop for CoreEnd {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::Receiver;

    use super::*;

    const TOKEN: usize = 5;
    /// What may be used in one turn.
    const SHARE: usize = 10;

    /// A link that the core has taken over.
    struct Opened {
        told: Receiver<ToCore>,
        pipes: Pipes,
        end: CoreEnd,
        connected: Option<Connected>,
        body: Downstream,
        name: LinkName,
        _poll: mio::Poll,
    }

    fn open() -> Opened {
        let (core, told, poll) = ToCoreSender::for_test();
        let pipes = Pipes::new(core);
        let (mut end, connected, mut body) = pipes.open(Arc::default()).unwrap();
        let name = connected.name;
        end.register(TOKEN);
        assert!(end.write());
        let first = format!("event: link\ndata: {name}\n\n");
        assert_eq!(read(&mut body), Poll::Ready(Some(first.len())));
        let connected = Some(connected);
        Opened { told, pipes, end, connected, body, name, _poll: poll }
    }

    /// How much the response takes at once.
    fn read(body: &mut Downstream) -> Poll<Option<usize>> {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(body)
            .poll_frame(&mut context)
            .map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap().len()))
    }

    fn frames(bodies: &[&[u8]]) -> Frames {
        let mut body = Vec::new();
        for frame in bodies {
            body.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
            body.extend_from_slice(frame);
        }
        Frames::parse(body.into()).unwrap()
    }

    impl Opened {
        /// How often the core has been told to look.
        fn told(&self) -> usize {
            let told = self.told.try_iter();
            told.inspect(|told| assert!(matches!(told, ToCore::LinkReady(TOKEN)))).count()
        }
    }

    #[test]
    fn names_are_32_digits() {
        let Opened { name, .. } = open();
        assert_eq!(LinkName::parse(&name.to_string()).map(|parsed| parsed == name), Some(true));
        for bad in ["", "0", "00", &"g".repeat(32), &"A".repeat(32), &"0".repeat(34)] {
            assert!(LinkName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_response_takes_what_fits_and_asks_for_more_each_time() {
        let mut link = open();
        assert_eq!(read(&mut link.body), Poll::Pending);
        link.end.send(&vec![0; 3 * CAPACITY]);
        let mut left = link.end.out_len();
        // Also while the core reads nothing from the link.
        while left > CAPACITY {
            assert!(!link.end.write());
            assert_eq!(link.end.out_len(), left - CAPACITY);
            assert_eq!(read(&mut link.body), Poll::Ready(Some(CAPACITY)));
            assert_eq!(link.told(), 1);
            link.end.acknowledge();
            left -= CAPACITY;
        }
        assert!(link.end.write());
        link.end.finish();
        assert_eq!(read(&mut link.body), Poll::Ready(Some(left)));
        assert_eq!(read(&mut link.body), Poll::Ready(None));
        assert_eq!(link.told(), 0);
    }

    #[test]
    fn a_post_is_answered_when_its_frames_are_used_up() {
        let mut link = open();
        let post = link.pipes.post(link.name).unwrap();
        assert_eq!(link.pipes.post(link.name).unwrap_err(), NotTaken::Busy);
        let mut context = Context::from_waker(Waker::noop());
        let mut post = pin!(post.deliver(frames(&[&[1; 8], &[2; 8], &[3; 8]])));
        assert_eq!(post.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(link.told(), 1);
        link.end.acknowledge();

        // Two fill the first turn's share.
        assert_eq!(link.end.read(SHARE), ReadOutcome::More);
        assert_eq!(link.end.next().as_deref(), Some(&[1; 8][..]));
        assert_eq!(link.end.next().as_deref(), Some(&[2; 8][..]));
        assert_eq!(link.end.next(), None);
        assert_eq!(post.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(link.pipes.post(link.name).unwrap_err(), NotTaken::Busy);

        link.end.read(SHARE);
        assert_eq!(link.end.next().as_deref(), Some(&[3; 8][..]));
        assert_eq!(post.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        assert_eq!(link.end.read(SHARE), ReadOutcome::Drained);
        assert!(link.pipes.post(link.name).is_ok());
    }

    #[test]
    fn the_end_is_seen_on_both_sides() {
        // The core closes the link.
        let mut link = open();
        let post = link.pipes.post(link.name).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut post = pin!(post.deliver(frames(&[&[1]])));
        assert_eq!(post.as_mut().poll(&mut context), Poll::Pending);
        link.end.close("");
        assert_eq!(post.as_mut().poll(&mut context), Poll::Ready(Err(NotTaken::NoLink)));
        assert_eq!(link.pipes.post(link.name).unwrap_err(), NotTaken::NoLink);
        drop(link.end);
        assert_eq!(read(&mut link.body), Poll::Ready(None));

        // The connection ends.
        let mut link = open();
        assert_eq!(link.end.read(SHARE), ReadOutcome::Drained);
        link.connected = None;
        assert_eq!(link.told(), 1);
        assert_eq!(link.end.read(SHARE), ReadOutcome::Closed);
        assert_eq!(link.pipes.post(link.name).unwrap_err(), NotTaken::NoLink);
        assert!(link.pipes.by_name().is_empty());
    }
}
