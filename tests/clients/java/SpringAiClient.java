import java.util.Arrays;
import java.util.List;
import org.springframework.ai.document.MetadataMode;
import org.springframework.ai.openai.OpenAiEmbeddingModel;
import org.springframework.ai.openai.OpenAiEmbeddingOptions;
import org.springframework.ai.openai.api.OpenAiApi;

/**
 * Spring AI's OpenAI embeddings, as they come: over the JDK's client. Run by tests/test_java_clients.py:
 * {@code java -cp 'lib/*' SpringAiClient.java URL MODEL} prints the numbers of dimensions of three vectors, and whether
 * equal texts have equal ones.
 */
public class SpringAiClient {
    public static void main(String[] args) {
        OpenAiApi api = OpenAiApi.builder().baseUrl(args[0]).apiKey("none").build();
        OpenAiEmbeddingModel model = new OpenAiEmbeddingModel(
                api, MetadataMode.EMBED, OpenAiEmbeddingOptions.builder().model(args[1]).build());
        List<float[]> rows = model.embed(List.of("a", "b"));
        float[] again = model.embed("a");
        System.out.println(rows.get(0).length + " " + rows.get(1).length + " " + again.length + " "
                + Arrays.equals(again, rows.get(0)));
    }
}
