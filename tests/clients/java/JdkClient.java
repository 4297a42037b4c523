import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/**
 * The JDK's own client, as it comes: it offers h2c with every request. Run by tests/test_java_clients.py:
 * {@code java JdkClient.java URL CHARACTERS...} sends a request for each number, with a field of so many characters, one
 * after the other, and prints the status, the version and the body of each answer, with tabs between them.
 */
public class JdkClient {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int place = 1; place < args.length; place++) {
            String user = "x".repeat(Integer.parseInt(args[place]));
            String body = "{\"input\": [\"a\", \"b\"], \"encoding_format\": \"base64\", \"user\": \"" + user + "\"}";
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[0] + "/v1/embeddings"))
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(body))
                    .build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + "\t" + answer.version() + "\t" + answer.body());
        }
    }
}
