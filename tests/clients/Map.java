// CCC's two calls, as Java's HttpClient makes them: usage java Map.java URL USER PASSWORD.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class Map {
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    static List<String> call(String[] args, String mode, List<String> numbers) throws Exception {
        String quoted = numbers.stream().map(number -> '"' + number + '"').collect(Collectors.joining(","));
        String credentials = Base64.getEncoder().encodeToString((args[1] + ":" + args[2]).getBytes(StandardCharsets.UTF_8));
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
            .header("Authorization", "Basic " + credentials)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString("{\"Numbers\":[" + quoted + "],\"Mode\":\"" + mode + "\"}"))
            .build();
        HttpResponse<String> answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200 || !answer.body().startsWith("{\"Code\":0,")) {
            throw new IllegalStateException("status " + answer.statusCode());
        }
        List<String> values = new ArrayList<>();
        Pattern.compile("\"Value\":\"([^\"]*)\"").matcher(answer.body()).results().forEach(found -> values.add(found.group(1)));
        if (args.length > 3) {
            System.err.println(answer.version());
        }
        return values;
    }

    public static void main(String[] args) throws Exception {
        List<String> uids = call(args, "PhoneToUID", List.of("13988888888", "13788888888"));
        System.out.println(String.join(" ", call(args, "UIDToPhone", uids)));
    }
}
