"""Unary, server streaming and failing calls with grpcio: grpc_echo.py HOST:PORT.

Messages are plain bytes, so no generated code is needed. Proxy and trust come from the environment alone
(https_proxy or grpc_proxy in lower case, and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH).
"""

import sys

import grpc

SERVICE = "/sandgate.test.Echo/"


def main(target: str) -> None:
    with grpc.secure_channel(target, grpc.ssl_channel_credentials()) as channel:
        if channel.unary_unary(SERVICE + "Unary")(b"hello", timeout=30) != b"hello":
            raise ValueError("the unary call answered something else")
        stream = list(channel.unary_stream(SERVICE + "ServerStream")(b"again", timeout=30))
        if stream != [b"again"] * 3:
            raise ValueError(f"the stream answered {stream}")
        bidi = list(channel.stream_stream(SERVICE + "BidiStream")(iter([b"a", b"b"]), timeout=30))
        if bidi != [b"a", b"b"]:
            raise ValueError(f"the two-way stream answered {bidi}")
        try:
            channel.unary_unary(SERVICE + "Fail")(b"", timeout=30)
            raise ValueError("the failing call did not fail")
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise
    print("unary, server streaming and two-way calls answered")


try:
    main(sys.argv[1])
except grpc.RpcError as error:
    sys.exit(f"{error.code().name}: {error.details()}")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
