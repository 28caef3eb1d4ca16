//! The JVM, which takes proxy and trust store from `JAVA_TOOL_OPTIONS`: its old client and its new one.

use crate::harness::{Bench, Finished, ZEN, assert_shows};

const CLIENT: &str = r#"
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public class Client {
    public static void main(String[] arguments) throws Exception {
        URI uri = URI.create(arguments[1]);
        if (arguments[0].equals("old")) {
            System.out.write(uri.toURL().openStream().readAllBytes());
            System.out.flush();
            return;
        }
        var response = HttpClient.newHttpClient().send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString());
        System.out.print(response.version() + " " + response.statusCode() + " " + response.body());
        System.exit(response.statusCode() == 200 ? 0 : 1);
    }
}
"#;

async fn java(bench: &Bench, which: &str, host: &str) -> Finished {
    let (script, url) = (bench.script("Client.java", CLIENT), format!("https://{host}/zen"));
    bench.run(&["java", &script, which, &url]).await
}

#[tokio::test]
async fn both_clients_reach_the_listed_host() {
    for (which, expected) in [("old", ZEN.to_owned()), ("new", format!("HTTP_2 200 {ZEN}"))] {
        let bench = Bench::start().await;
        assert_eq!(bench.reached(java(&bench, which, &bench.listed()).await), expected);
    }
}

#[tokio::test]
async fn both_clients_are_refused() {
    for which in ["old", "new"] {
        let bench = Bench::start().await;
        assert_shows(&bench.refused(java(&bench, which, &bench.other()).await), &["403"]);
    }
}
