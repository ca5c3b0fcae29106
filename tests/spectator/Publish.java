import com.netflix.spectator.api.Clock;
import com.netflix.spectator.api.Registry;
import com.netflix.spectator.api.histogram.PercentileTimer;
import com.netflix.spectator.atlas.AtlasConfig;
import com.netflix.spectator.atlas.AtlasRegistry;
import java.io.IOException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A service that counts with Netflix's Spectator, once, and publishes when it stops. Arguments: the URI to publish to,
 * and the service's clock in epoch milliseconds, which stands still. The counts are stamped with the end of the step
 * that holds it; before them Spectator sends gauges, and zeros for counts, stamped with the end of the step before.
 * Prints what became of the measurements.
 */
final class Publish {
  private static final Duration STEP = Duration.ofSeconds(10);
  private static final int PAGES = 100;

  public static void main(String[] arguments) throws IOException {
    Map<String, String> settings =
        Map.of("atlas.uri", arguments[0], "atlas.step", STEP.toString(), "atlas.lwc.step", STEP.toString());
    AtlasConfig config = new AtlasConfig() {
      @Override public String get(String key) {
        return settings.get(key);
      }

      @Override public Map<String, String> commonTags() {
        return Map.of("nf.app", "shop");
      }
    };
    AtlasRegistry registry = new AtlasRegistry(standing(Long.parseLong(arguments[1])), config);
    registry.start();
    count(registry);
    registry.stop();
    registry.counters()
        .filter(counter -> counter.id().name().equals("spectator.measurements"))
        .forEach(counter -> System.out.println(counter.id() + " " + counter.actualCount()));
    registry.close();
  }

  private static void count(Registry registry) {
    registry.counter("shop.orders", "country", "fr").increment(90);
    registry.counter("shop.orders", "country", "de").add(1.5);
    registry.gauge("shop.queue", "node", "i-1").set(42.5);
    registry.timer("shop.checkout").record(Duration.ofMillis(250));
    registry.timer("shop.checkout").record(Duration.ofMillis(750));
    registry.distributionSummary("shop.basket").record(3);
    registry.distributionSummary("shop.basket").record(7);
    registry.maxGauge("shop.peak").set(11);
    registry.maxGauge("shop.peak").set(5);
    PercentileTimer pages = PercentileTimer.get(registry, registry.createId("shop.page"));
    for (int i = 1; i <= PAGES; i++) {
      pages.record(i, TimeUnit.MILLISECONDS);
    }
  }

  private static Clock standing(long wallMs) {
    return new Clock() {
      @Override public long wallTime() {
        return wallMs;
      }

      @Override public long monotonicTime() {
        return TimeUnit.MILLISECONDS.toNanos(wallMs);
      }
    };
  }

  private Publish() {}
}
