// A call with a wrong password and a body of 1 MB: usage java Refused.java URL. Prints the status and the milliseconds.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

public class Refused {
    public static void main(String[] args) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
            .timeout(Duration.ofSeconds(30))
            .header("Authorization", "Basic Y2NjOndyb25n")
            .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[1_000_000]))
            .build();
        HttpClient client = HttpClient.newHttpClient();
        // The first call loads some hundred classes; what counts is how long the second waits.
        client.send(request, HttpResponse.BodyHandlers.ofString());
        long since = System.nanoTime();
        HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + (System.nanoTime() - since) / 1_000_000);
    }
}
