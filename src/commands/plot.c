/* plot.c - `metavar plot RUN`: the pictures of a run, from the tables of `metavar analyze` (analysis/plot.py). */
#include "metavar/script.h"

static int run_plot(const struct mv_args *args) { return mv_script_run("plot.py", &mv_command_plot, args); }

static const struct mv_option options[] = {
    {"only", 0, "NAME", "draw this picture; may be given several times (default: all whose tables are there)"},
    {"tables", 0, "DIR", "where analyze has put its tables (default RUN/analysis)"},
    {"surface", 0, "RUN2", "of a training: draw paths of eta over the return surface that this run has measured"},
    {"beside", 0, "RUN3", "of a training: draw the learning curves of this run too; may be given several times"},
    {"output", 'o', "DIR", "where the pictures go (default: beside the tables)"},
    {0},
};

const struct mv_command mv_command_plot = {
    .name = "plot",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "pictures of bias, variance and budget, from the tables of analyze",
    .doc = "Draws the tables of `metavar analyze` and prints the paths of what it wrote: for each picture NAME.pdf and "
           "NAME.png, and NAME.csv with the numbers that are drawn. Says which pictures it left out, and why. "
           "Of a run of metavar train it draws learning curves and paths of eta. "
           "analysis/README.md lists the pictures and what their intervals are. Needs python3 with matplotlib. "
           "METAVAR_ANALYSIS_DIR in the environment names another folder for the scripts.",
    .options = options,
    .run = run_plot,
};
