import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.openai.OpenAiEmbeddingModel;
import java.util.List;

/**
 * LangChain4j's OpenAI embeddings over its client of the JDK. Run by tests/test_java_clients.py:
 * {@code java -cp 'lib/*' LangChain4jClient.java URL MODEL} prints the numbers of dimensions of three vectors, and whether
 * equal texts have equal ones.
 */
public class LangChain4jClient {
    public static void main(String[] args) {
        OpenAiEmbeddingModel model = OpenAiEmbeddingModel.builder()
                .baseUrl(args[0] + "/v1")
                .apiKey("none")
                .modelName(args[1])
                .maxRetries(0)
                .build();
        var rows = model.embedAll(List.of(TextSegment.from("a"), TextSegment.from("b"))).content();
        var again = model.embed("a").content();
        System.out.println(rows.get(0).dimension() + " " + rows.get(1).dimension() + " " + again.dimension() + " "
                + again.equals(rows.get(0)));
    }
}
