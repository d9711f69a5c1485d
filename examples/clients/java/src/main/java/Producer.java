import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Starts runs on execstream with Kafka's Java client, and brings them to an end.
 *
 * <p>Environment: BOOTSTRAP, TOPIC, RUNS. The default partitioner and settings do: murmur2, acks=all
 * and idempotence. Instants are written with 0, 3, 6 or 9 digits of a second's fraction.
 */
public class Producer {
  private static final int LEFT = 5; // of the runs, the last ones, stay RUNNING

  public static void main(String[] arguments) throws Exception {
    Map<String, Object> settings = Map.of("bootstrap.servers", System.getenv("BOOTSTRAP"));
    int runs = Integer.parseInt(System.getenv("RUNS"));
    try (var producer =
        new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
      for (int number = 0; number < runs; number++) {
        String run = UUID.randomUUID().toString();
        for (String command : commands(run, number < runs - LEFT)) {
          producer.send(new ProducerRecord<>(System.getenv("TOPIC"), run, command)).get();
        }
        System.out.println(run);
      }
    }
  }

  private static List<String> commands(String run, boolean ends) {
    List<String> commands = new ArrayList<>();
    commands.add(
        command(
            "graph.create",
            run,
            ", \"graph_id\": \"example\", \"graph_version\": 1, \"starting_nodes\": []"));
    commands.add(command("graph.start", run, ""));
    if (ends) {
      commands.add(command("graph.update", run, ", \"status\": \"COMPLETED\""));
    }
    return commands;
  }

  private static String command(String type, String run, String fields) {
    return String.format(
        "{\"type\": \"%s\", \"id\": \"%s\", \"at\": \"%s\", \"user_id\": \"java\","
            + " \"graph_exec_id\": \"%s\"%s}",
        type, UUID.randomUUID(), Instant.now(), run, fields);
  }
}
