import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import tools.jackson.databind.ObjectMapper;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.dataformat.smile.SmileFactory;
import tools.jackson.dataformat.smile.SmileMapper;
import tools.jackson.dataformat.smile.SmileWriteFeature;

/**
 * Writes JSON documents, one a line of standard input, as Smile in Base64, one a line. Arguments: whether names, texts
 * are shared, and whether the end of a document is marked.
 */
final class EncodeSmile {
  public static void main(String[] arguments) throws IOException {
    SmileFactory factory = SmileFactory.builder()
        .configure(SmileWriteFeature.CHECK_SHARED_NAMES, Boolean.parseBoolean(arguments[0]))
        .configure(SmileWriteFeature.CHECK_SHARED_STRING_VALUES, Boolean.parseBoolean(arguments[1]))
        .configure(SmileWriteFeature.WRITE_END_MARKER, Boolean.parseBoolean(arguments[2]))
        .build();
    ObjectMapper json = JsonMapper.builder().build();
    ObjectMapper smile = SmileMapper.builder(factory).build();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(Base64.getEncoder().encodeToString(smile.writeValueAsBytes(json.readTree(line))));
    }
  }

  private EncodeSmile() {}
}
