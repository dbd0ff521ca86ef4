// Java's HttpClient, which offers h2c on every http request: java H2CClient.java BASE
// Prints a line for each exchange: HTTP version, status, length of the content.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class H2CClient {
    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        exchange(HttpClient.newHttpClient(), HttpRequest.newBuilder(URI.create(base + "/plain")));
        var post = HttpRequest.newBuilder(URI.create(base + "/body"))
            .POST(HttpRequest.BodyPublishers.ofString("x".repeat(300_000)));
        exchange(HttpClient.newHttpClient(), post);
        HttpClient kept = HttpClient.newHttpClient();
        for (int count = 0; count < 3; count++) {
            exchange(kept, HttpRequest.newBuilder(URI.create(base + "/plain")));
        }
        // A race in this client: three in a hundred lose octets read together with the 101 when
        // those are more than 16 KiB.
        post = HttpRequest.newBuilder(URI.create(base + "/body"))
            .POST(HttpRequest.BodyPublishers.ofString("x".repeat(60_000)));
        for (int count = 0; count < 150; count++) {
            exchange(HttpClient.newHttpClient(), post);
        }
    }

    private static void exchange(HttpClient client, HttpRequest.Builder request) throws Exception {
        var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
        System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body().length);
    }
}
