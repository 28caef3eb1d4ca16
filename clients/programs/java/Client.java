import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** The JVM's old client, URLConnection, and its new one, HttpClient. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        URI uri = URI.create(arguments[2] + (arguments[1].equals("stream") ? "/sse?events=3" : "/zen"));
        if (arguments[0].equals("old")) {
            var reader = new BufferedReader(new InputStreamReader(uri.toURL().openStream()));
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                System.out.println(line);
            }
            return;
        }
        var request = HttpRequest.newBuilder(uri).build();
        var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofLines());
        if (response.statusCode() != 200) {
            System.err.println(response.statusCode());
            response.body().forEach(System.err::println);
            System.exit(1);
        }
        response.body().forEach(System.out::println);
        System.exit(0);
    }
}
