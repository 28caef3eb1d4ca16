//! HTTP/2 streams of an origin, on the `h2` crate. Each stream is answered in a task of its own; back-pressure is
//! HTTP/2's own flow control, and no body is held.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::task::JoinSet;

use super::exchange::{Exchange, Fields, Length, Wire};
use super::head::Head;
use super::{Connection, Io, routes};

/// The window of one stream, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// The window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How much of a body is offered to flow control at once, in bytes.
const SEND_STEP: usize = 128 << 10;

/// One stream.
pub(super) struct Http2 {
    request: RecvStream,
    response: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
}

/// Answers streams until either side closes.
pub(super) async fn serve(io: Io, connection: &Connection) -> io::Result<()> {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder.max_header_list_size(4 << 20);
    if let Some(streams) = connection.origin.options.max_streams {
        builder.max_concurrent_streams(streams);
    }
    let mut session = builder.handshake::<_, Bytes>(io).await.map_err(io::Error::other)?;
    let mut streams = JoinSet::new();
    while let Some(accepted) = session.accept().await {
        let (request, response) = accepted.map_err(io::Error::other)?;
        while streams.try_join_next().is_some() {}
        streams.spawn(answer(connection.clone(), request, response));
    }
    Ok(())
}

async fn answer(connection: Connection, request: Request<RecvStream>, response: SendResponse<Bytes>) {
    let (parts, body) = request.into_parts();
    let head = head(&parts);
    let entry = connection.origin.journal.add_request(connection.number, head.clone());
    let wire = Http2 { request: body, response, sending: None };
    let mut exchange = Exchange::new(head, Wire::Http2(Box::new(wire)), entry);
    if let Err(error) = routes::answer(&mut exchange, &connection.origin).await {
        return connection.fail(&error);
    }
    // A stream that is dropped before its body was read is reset, and some clients then lose the response too.
    exchange.forgo_continue();
    if let Err(error) = exchange.drain().await {
        connection.fail(&error);
    }
}

fn head(parts: &http::request::Parts) -> Head {
    Head {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string),
        version: "HTTP/2".to_owned(),
        authority: parts.uri.authority().map(ToString::to_string),
        headers: pairs(&parts.headers),
    }
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn header_map(fields: Fields<'_>) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("the origin sends valid names");
        (name, HeaderValue::from_str(value).expect("the origin sends valid values"))
    };
    fields.iter().map(field).collect()
}

impl Http2 {
    pub(super) async fn read_body(&mut self) -> io::Result<Option<Bytes>> {
        let Some(piece) = self.request.data().await.transpose().map_err(io::Error::other)? else {
            return Ok(None);
        };
        self.request.flow_control().release_capacity(piece.len()).map_err(io::Error::other)?;
        Ok(Some(piece))
    }

    pub(super) async fn read_trailers(&mut self) -> io::Result<Vec<(String, String)>> {
        let trailers = self.request.trailers().await.map_err(io::Error::other)?;
        Ok(trailers.as_ref().map(pairs).unwrap_or_default())
    }

    pub(super) fn write_informational(&mut self, status: u16, fields: Fields<'_>) -> io::Result<()> {
        let response = empty_response(status, fields);
        self.response.send_informational(response).map_err(io::Error::other)
    }

    pub(super) fn write_head(&mut self, status: u16, fields: Fields<'_>, length: Length) -> io::Result<()> {
        let mut response = empty_response(status, fields);
        if let Length::Known(length) = length {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        self.sending = Some(self.response.send_response(response, false).map_err(io::Error::other)?);
        Ok(())
    }

    fn sending(&mut self) -> io::Result<&mut SendStream<Bytes>> {
        self.sending.as_mut().ok_or_else(|| io::Error::other("the response has no head yet"))
    }

    pub(super) async fn write_body(&mut self, mut piece: Bytes) -> io::Result<()> {
        let sending = self.sending()?;
        while !piece.is_empty() {
            sending.reserve_capacity(piece.len().min(SEND_STEP));
            let capacity = poll_fn(|context| sending.poll_capacity(context)).await;
            let capacity =
                capacity.ok_or_else(|| io::Error::other("the stream was closed"))?.map_err(io::Error::other)?;
            let now = piece.split_to(capacity.min(piece.len()));
            sending.send_data(now, false).map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, trailers: Fields<'_>) -> io::Result<()> {
        let sending = self.sending()?;
        if trailers.is_empty() {
            return sending.send_data(Bytes::new(), true).map_err(io::Error::other);
        }
        sending.send_trailers(header_map(trailers)).map_err(io::Error::other)
    }

    pub(super) async fn gone(&mut self) {
        // Whatever ends the wait, an error too, means that nobody waits for this stream any more.
        let _ = match &mut self.sending {
            Some(sending) => poll_fn(|context| sending.poll_reset(context)).await,
            None => poll_fn(|context| self.response.poll_reset(context)).await,
        };
    }
}

fn empty_response(status: u16, fields: Fields<'_>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("the origin sends valid statuses");
    *response.headers_mut() = header_map(fields);
    response
}
