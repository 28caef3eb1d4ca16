import java.io.*;
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            URI uri = URI.create(line.split(" ")[1]);
            try {
                if (line.startsWith("URLConnection ")) {
                    uri.toURL().openStream().readAllBytes();
                } else {
                    client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
                }
                System.out.println("ok");
            } catch (IOException error) {
                System.out.println(error);
            }
        }
        System.exit(0);
    }
}
