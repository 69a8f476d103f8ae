//! tokio and tokio-tungstenite as a careful user writes them: one thread, a task per client, and one flush per batch.
//!
//! `peer-tungstenite PORT` serves two paths: `/echo` sends a message back, `/pub` sends it to every client of that
//! path. A task feeds all that waits for its client, and flushes when nothing more does.

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

type Audience = Rc<RefCell<Vec<UnboundedSender<Message>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| std::io::Error::other("usage: peer-tungstenite PORT"))?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(4096)?;
    println!("listening on 127.0.0.1:{port}");
    tokio::task::LocalSet::new().run_until(accept(listener)).await;
    Ok(())
}

async fn accept(listener: TcpListener) {
    let audience = Audience::default();
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            let audience = audience.clone();
            tokio::task::spawn_local(async move {
                // A client that goes or errs ends its task: nobody else is to know.
                let _ = serve(socket, audience).await;
            });
        }
    }
}

async fn serve(socket: TcpStream, audience: Audience) -> Result<(), Error> {
    socket.set_nodelay(true)?;
    let mut path = String::new();
    #[allow(clippy::result_large_err, reason = "the handshake's own type")]
    let look = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(socket, look).await?;
    match path.as_str() {
        "/echo" => echo(socket).await,
        "/pub" => {
            let (sender, receiver) = unbounded_channel();
            audience.borrow_mut().push(sender);
            publish(socket, &audience, receiver).await
        }
        _ => Ok(()),
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(first) = socket.next().await {
        let mut next = Some(first);
        while let Some(message) = next {
            let message = message?;
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
            next = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn publish(
    mut socket: WebSocketStream<TcpStream>,
    audience: &Audience,
    mut waiting: UnboundedReceiver<Message>,
) -> Result<(), Error> {
    let mut batch = Vec::with_capacity(128);
    loop {
        tokio::select! {
            count = waiting.recv_many(&mut batch, 128) => {
                if count == 0 {
                    return Ok(());
                }
                for message in batch.drain(..) {
                    socket.feed(message).await?;
                }
                while let Ok(message) = waiting.try_recv() {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
            first = socket.next() => {
                let mut next = first;
                if next.is_none() {
                    return Ok(());
                }
                while let Some(message) = next {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        audience.borrow_mut().retain(|other| other.send(message.clone()).is_ok());
                    }
                    next = socket.next().now_or_never().flatten();
                }
            }
        }
    }
}
