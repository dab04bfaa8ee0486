/* bench_plan.c - the long study on up to 16,384 ranks, simulated. bench_plan CSV
 *
 * As published: one simulation for each of the truncation lengths 2, 21, 41, 61, 80 at 25 eta points, 10^6 replicates each,
 * in units of a block of 10,000. A unit takes a second at the median length, and at the others what tangents of such
 * windows make of it (results/floor.csv: 101 ns a step for the primal, 175 ns for tangents). Rank 0 has the costs of
 * simulate.c, messages 5 us, commits are made when store.h says so, twice a second to once in 10 s. The published size, 12,500
 * units, is over in three seconds on 4,096 ranks; with a hundred times the replicates the end does not decide. Last the same in units as long as plan makes them for so many
 * ranks (mv_unit_seconds), where that is longer than a second.
 */
#include "bench.h"
#include "metavar/simulate.h"

enum { LENGTHS = 5, POINTS = 25, BYTES = 552 };
static const int lengths[LENGTHS] = {80, 61, 41, 21, 2};

/* So many units of `longer` seconds at the median. */
static struct mv_forecast simulate(int ranks, int64_t units, double longer)
{
  struct mv_load load[LENGTHS];
  for (int k = 0; k < LENGTHS; k++)
    load[k] =
        (struct mv_load){units / LENGTHS, longer * (80 * 101 + 175 * lengths[k]) / (80 * 101 + 175 * 41.0), BYTES};
  return mv_simulate(&mv_costs_usual, load, LENGTHS, ranks, ranks <= 64);
}

int main(int argc, char **argv)
{
  FILE *csv =
      argc == 2
          ? csv_open(
                argv[1],
                "cores,load,ranks,units,unit_seconds,seconds,efficiency,tail,waiting,busy,committing,commits,groups,"
                "finish")
          : NULL;
  double at_4096 = 0;
  if (!csv)
    return 1;
  puts(
      "bench_plan: simulated, nothing is run: efficiency of the long study on 64 to 16,384 ranks, as published, 100 "
      "times\n"
      "that, and 100 times that in units as planned; shares of the time in the tail, waiting, rank 0 busy, committing");
  printf("%7s %9s %7s %10s %10s %7s %8s %7s %10s %8s %11s\n", "ranks", "units", "unit s", "seconds", "efficiency",
         "tail", "waiting", "busy", "committing", "commits", "results.h5");
  for (int set = 0; set < 3; set++)
    for (int ranks = 64; ranks <= 16384; ranks *= 4) {
      double rule = mv_unit_seconds(&mv_costs_usual, ranks), longer = set == 2 && rule > 1 ? rule : 1;
      if (set == 2 && longer == 1)
        continue;
      struct mv_forecast f = simulate(ranks, (int64_t)((set ? 100 : 1) * LENGTHS * POINTS * 100 / longer), longer);
      printf("%7d %9lld %7.2f %10.1f %10.4f %7.4f %8.4f %7.3f %10.3f %8lld %9.0f s\n", ranks, (long long)f.units,
             longer, f.seconds, f.efficiency, f.tail, f.waiting, f.busy, f.committing, (long long)f.commits, f.finish);
      csv_line(csv, origin_load(), "%d,%lld,%.3f,%.2f,%.4f,%.4f,%.4f,%.4f,%.4f,%lld,%lld,%.1f", ranks,
               (long long)f.units, longer, f.seconds, f.efficiency, f.tail, f.waiting, f.busy, f.committing,
               (long long)f.commits, (long long)f.groups, f.finish);
      at_4096 = ranks == 4096 && set == 1 ? f.efficiency : at_4096;
    }
  printf("efficiency at 4096 ranks: %.4f\n", at_4096);
  return fclose(csv) || at_4096 < 0.95;
}
