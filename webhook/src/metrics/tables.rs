//! The fixed tables that labels take their values from.

macro_rules! table {
    ($(#[doc = $doc:literal])+ $table:ident { $($(#[doc = $row:literal])+ $name:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $table {
            $($(#[doc = $row])+ $name,)+
        }

        impl $table {
            /// Every row.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$name),+];

            /// The label's value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What it stands for, for the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($row),+),)+ }
            }
        }
    };
}

table! {
    /// What a review is about, by the path of the call.
    Path {
        /// `/mutate/MODE`: pods on their way in.
        Mutate = "mutate",
        /// `/validate/MODE`: final pods.
        Validate = "validate",
        /// `/validate/templates/MODE`: what makes pods.
        Templates = "templates",
        /// `/validate/policies`: ConfigMaps.
        Policies = "policies",
    }
}

table! {
    /// Why an HTTP request got an error instead of an answered review.
    Rejected {
        /// 400: the body is no AdmissionReview v1 whose uid can be read.
        BadReview = "bad_review",
        /// 404: no such path or mode.
        NotFound = "not_found",
        /// 405: not POST.
        Method = "method",
        /// 408: the body came too slowly.
        BodyTimeout = "body_timeout",
        /// 413: the body is larger than `server.maxBodyBytes`.
        TooLarge = "too_large",
        /// 415: not `application/json`, or compressed.
        MediaType = "media_type",
        /// 400: the connection ended or failed within the body.
        BodyBroken = "body_broken",
        /// 429: the peer has too many requests in flight, or there are too many large bodies at once.
        Busy = "busy",
        /// 500: the decision panicked. This is a defect: please report it with the log line.
        Panic = "panic",
    }
}

table! {
    /// Why the server ended or refused a connection.
    Closed {
        /// Its peer has more connections than one address may have, and all of them are in use.
        RefusedShare = "refused_share",
        /// There are `server.maxConnections`, and all of them are in use.
        RefusedFull = "refused_full",
        /// It was the longest unused one when another needed its place.
        Evicted = "evicted",
        /// The TLS handshake took longer than `server.handshakeTimeout`.
        HandshakeTimeout = "handshake_timeout",
        /// The TLS handshake failed; an API server that does not trust the certificate ends it so.
        HandshakeFailed = "handshake_failed",
        /// There was no request for `server.idleTimeout`.
        Idle = "idle",
        /// HTTP went wrong: a malformed or slow head, a broken frame, a connection reset.
        Http = "http",
    }
}
