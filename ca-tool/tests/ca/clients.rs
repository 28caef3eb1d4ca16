//! A real TLS connection: Python as the server with a leaf, and as the strictest client there is.

use crate::harness::{Place, Said};

const CONNECT: &str = r#"
import socket, ssl, sys, threading
chain, key, trusted, name = sys.argv[1:]
server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
server.load_cert_chain(chain, key)
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    try:
        with server.wrap_socket(listener.accept()[0], server_side=True) as tls:
            tls.sendall(b"hello")
    except (ssl.SSLError, ConnectionError):
        pass
threading.Thread(target=serve, daemon=True).start()
client = ssl.create_default_context(cafile=trusted)
client.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(listener.getsockname(), timeout=10) as plain:
    with client.wrap_socket(plain, server_hostname=name) as tls:
        print(tls.recv(5).decode())
"#;

pub(crate) fn connect(place: &Place, stem: &str, trusted: &str, name: &str) -> Said {
    place.write("connect.py", CONNECT);
    place.run("python3", &["connect.py", &format!("{stem}.crt"), &format!("{stem}.key"), trusted, name])
}

#[test]
fn python_accepts_a_name_and_an_address_in_its_strict_mode() {
    for key_type in ["p256", "p384", "rsa4096"] {
        let place = Place::with_ca(&["--key-type", key_type]);
        for name in ["a.example", "127.0.0.1"] {
            place.ca(&["issue", "--dir", "ca", name]).succeeded();
            assert_eq!(connect(&place, name, "ca/ca.crt", name).succeeded().out.trim(), "hello");
        }
    }
}

#[test]
fn python_accepts_a_ca_with_constraints() {
    let place = Place::with_ca(&["--permit", "a.example"]);
    place.ca(&["issue", "--dir", "ca", "a.example"]).succeeded();
    connect(&place, "a.example", "ca/ca.crt", "a.example").succeeded();
}

#[test]
fn python_refuses_a_leaf_of_another_ca_with_the_same_name() {
    let (place, other) = (Place::with_ca(&[]), Place::with_ca(&[]));
    place.ca(&["issue", "--dir", "ca", "a.example"]).succeeded();
    let said = connect(&place, "a.example", other.path("ca/ca.crt").to_str().unwrap(), "a.example");
    assert!(said.code != Some(0) && said.err.contains("CERTIFICATE_VERIFY_FAILED"), "{said:?}");
}
