/* report.c - `metavar report RUN`: a run on one HTML page, from the tables of `metavar analyze` (analysis/report.py). */
#include "metavar/script.h"

static int run_report(const struct mv_args *args) { return mv_script_run("report.py", &mv_command_report, args); }

static const struct mv_option options[] = {
    {"tables", 0, "DIR", "where analyze has put its tables (default RUN/analysis)"},
    {"surface", 0, "RUN2", "of a training: draw paths of eta over the return surface that this run has measured"},
    {"output", 'o', "FILE", "the page (default: report.html beside the tables)"},
    {0},
};

const struct mv_command mv_command_report = {
    .name = "report",
    .positional = "RUN",
    .least = 1,
    .most = 1,
    .summary = "a run on one page: warnings, answers, pictures, tables, provenance",
    .doc = "Writes one HTML file that holds everything: warnings, which estimator is best at which budget (of a "
           "training: where each of them leads), every picture "
           "and table that `metavar analyze` has made the numbers for, the job, who computed it where and when, the "
           "methods. It opens offline in any browser, runs no script and refers to nothing outside. Needs python3 with "
           "matplotlib.",
    .options = options,
    .run = run_report,
};
