/* analysis.h - offline statistics: from moments in blocks to bias and variance of every setting, and where bias comes from.
 *
 * groups.h   settings: what is compared; groups: moments of one cell
 * panel.h    one eta point jointly: estimates, draws, combinations of means, averages over points
 * members    the entries of a run, and those of its reference run
 * cell       statistics of one eta point and one setting: cells.csv, grid.csv
 * table      other tables: rows with a few estimates each, of every eta point and averaged: board, sources, differences
 * tables     a whole run, point by point, on all cores
 *
 * NaN marks what is undefined; nothing is left out. The same input gives the same bits on any number of cores.
 */
#ifndef METAVAR_ANALYSIS_H
#define METAVAR_ANALYSIS_H

#include <stdio.h>

#include "metavar/panel.h"

#define MV_GRID_RESAMPLES 10000 /* of eta points, as Vuorio et al. 2022 */

struct mv_analysis {
  int resamples;
  double confidence;
};

/* --- cells: cell.c ---------------------------------------------------------------------------------------------------
 */

enum mv_stat {
  MV_STAT_VARIANCE,
  MV_STAT_VARIANCE_SE,
  MV_STAT_VARIANCE_LOW,
  MV_STAT_VARIANCE_HIGH,
  MV_STAT_VARIANCE_MEAN,
  MV_STAT_VARIANCE_COST,
  MV_STAT_BIAS2_PLUGIN,
  MV_STAT_BIAS2_UNBIASED,
  MV_STAT_BIAS2_SE,
  MV_STAT_BIAS2_LOW,
  MV_STAT_BIAS2_HIGH,
  MV_STAT_V22_BIAS,
  MV_STAT_V22_BIAS_UNBIASED,
  MV_STAT_V22_BIAS_SE,
  MV_STAT_COSINE,
  MV_STAT_COSINE_UNBIASED,
  MV_STAT_COSINE_SE,
  MV_STAT_COSINE_LOW,
  MV_STAT_COSINE_HIGH,
  MV_STAT_RELATIVE_ERROR,
  MV_STAT_RELATIVE_ERROR_LOW,
  MV_STAT_RELATIVE_ERROR_HIGH,
  MV_STAT_LARGEST_SHARE,
  MV_STAT_HILL_INDEX,
  MV_STAT_HILL_COUNT,
  MV_STAT_TAIL_WARNING,
  MV_STATS
};
extern const char *const mv_stat_names[MV_STATS];

/* Numbers of each coordinate. */
enum mv_coordinate {
  MV_AT_MEAN,
  MV_AT_MEAN_SE,
  MV_AT_VARIANCE,
  MV_AT_BIAS,
  MV_AT_BIAS_LOW,
  MV_AT_BIAS_HIGH,
  MV_AT_SIGN_ERROR,
  MV_AT_SIGN_ERROR_LOW,
  MV_AT_SIGN_ERROR_HIGH,
  MV_AT_MEDIAN_OF_MEANS,
  MV_COORDINATES
};
extern const char *const mv_coordinate_names[MV_COORDINATES];

/* One cell and setting. */
struct mv_row {
  int64_t count, nonfinite, largest_id;
  int groups;
  double stat[MV_STATS];
};

/* The figures of a row that are averaged with their draws. */
enum mv_figure { MV_FIGURE_VARIANCE, MV_FIGURE_BIAS2, MV_FIGURE_COSINE, MV_FIGURES };

/* An eta point, and what all its rows are compared with. */
struct mv_point {
  const struct mv_panel *panel;
  const struct mv_analysis *options;
  bool compared;
  struct mv_vector reference;
  struct mv_estimate length; /* unbiased squared length of the reference */
  double *length_errors;     /* [resamples] */
};
/* reference NULL: none. The panel is closed, and stays. */
void mv_point_make(struct mv_point *, const struct mv_panel *, const struct mv_analysis *,
                   const struct mv_term *reference);
void mv_point_free(struct mv_point *);

/* Fills the row and coordinates[MV_COORDINATES][meta] of a setting of an entry with `nest` replicates per task instance;
 * errors[MV_FIGURES][resamples] (may be NULL) are those of the figures. The reference's own row has no bias. */
void mv_cell_fill(const struct mv_point *, int entry, int setting, int64_t nest, const struct mv_setting *,
                  struct mv_row *, double *coordinates, double *errors);
/* Value and standard error of a figure in a row. */
struct mv_estimate mv_row_figure(const struct mv_row *, enum mv_figure);

/* --- grid: grid.c ----------------------------------------------------------------------------------------------------
 */

/* The statistics that are averaged over eta points, and the figure whose error and interval each has. */
struct mv_averaged {
  enum mv_stat stat;
  enum mv_figure figure;
  bool over_meta; /* divide the figure by M */
};
#define MV_AVERAGED 8
extern const struct mv_averaged mv_averaged[MV_AVERAGED];

struct mv_grid_row {
  int points;
  int64_t count, nonfinite; /* all points together */
  struct mv_grid_mean {
    struct mv_estimate here;  /* mean; error and interval for these points */
    double eta_low, eta_high; /* for other points */
  } average[MV_AVERAGED];
  double largest_share, hill_index; /* of the worst point; NaN if not watched */
  int tail_warnings;                /* points */
};

/* rows[p * stride] are the points of one setting, average[MV_FIGURES] its figures, finished here and kept. */
void mv_grid_fill(struct mv_grid_row *, const struct mv_row *rows, int points, int64_t stride, int meta,
                  struct mv_average *average, double confidence);

/* --- members: members.c ----------------------------------------------------------------------------------------------
 */

struct mv_tables;

/* An entry of the run; or a guest: an entry of the reference run, whose rows are in no table. */
struct mv_member {
  struct mv_results *results;
  const struct mv_job *job; /* its own run's */
  const struct mv_layout *layout;
  int number; /* of the entry in its job */
  bool guest;
  int *point; /* [points] number of the run's eta points in its own run */
  struct mv_settings settings;
  struct mv_row *row;         /* [points][settings] */
  double *coordinate;         /* [points][settings][MV_COORDINATES][meta] */
  struct mv_average *average; /* [settings][MV_FIGURES]; after mv_tables_make: finished, with errors */
  struct mv_grid_row *grid;   /* [settings] */
};

static inline const struct mv_entry *mv_member_entry(const struct mv_member *m) { return &m->job->entries[m->number]; }
static inline int64_t mv_member_nest(const struct mv_member *m) { return mv_entry_nest(mv_member_entry(m)); }
/* Replicates at one of the run's eta points: with a stopping rule points differ. */
int64_t mv_member_replicates(const struct mv_member *, int point);
struct mv_aim mv_member_aim(const struct mv_member *, int setting);
bool mv_aim_equal(const struct mv_aim *, const struct mv_aim *); /* the same objective */

/* Whether both jobs have the same task and lifetimes, if `estimates` also in settings that change estimates only; the key that
 * differs is told of the run that an option names. */
bool mv_same_question(const struct mv_job *, const struct mv_job *other, bool estimates, const char *option,
                      const char *run);
/* RUN or RUN:LABEL: the run, malloc'ed, and the label or NULL. */
char *mv_reference_run(const char *text, const char **label);

/* Opens the run's entries and, if `reference` names another run, those of its entries that serve as references; and
 * chooses the reference. Exit code; errors printed. */
int mv_members_make(struct mv_tables *, struct mv_results *, const double *lambda, int lambdas, const char *reference);
void mv_members_free(struct mv_tables *);
/* Reads one eta point into a panel, whose entry e is member e. Exit code. */
int mv_members_read(struct mv_tables *, int point, struct mv_panel *);

/* A setting of a member. Member -1: there is none. */
struct mv_place {
  int member, setting;
};
/* The unbiased estimate of an objective's gradient: from an entry of the estimator `reference`, guests first, or else
 * from member `own`. */
struct mv_place mv_find_aim(const struct mv_tables *, const struct mv_aim *, int own);

/* --- other tables ----------------------------------------------------------------------------------------------------
 */

#define MV_TABLE_FIGURES 2

struct mv_sink;
/* Rows with a few figures each, of every eta point and averaged. A piece is a run of rows that are filled together. */
struct mv_table {
  const char *file; /* "board.csv" */
  int rows, figures, pieces;
  bool cut[MV_TABLE_FIGURES]; /* intervals stop at 0 */
  bool by_point;              /* whether the points' own rows are written too */
  void *self;                 /* what the rows are about */
  int *first;                 /* [pieces + 1] first row of each piece */
  struct mv_estimate *at;     /* [rows][points + 1][figures]; the last point: averages */
  double *vector;             /* [rows][points + 1][2][meta]: values, standard errors; NULL if there are none */
  float *errors;              /* [rows][figures][resamples] sums over points: only their order and spread matter */
  /* Fills the rows of a piece at a point: mv_table_set for each row and figure. */
  void (*fill)(const struct mv_tables *, struct mv_table *, int piece, const struct mv_point *, int point);
  void (*columns)(const struct mv_tables *, const struct mv_table *, int row, int point, const struct mv_sink *);
  void (*finish)(const struct mv_tables *, struct mv_table *); /* may be NULL; after the averages */
};
/* Makes room once rows, figures, pieces and first are known. Without rows there is still a row 0, about nothing, as in
 * self: the header comes from it. */
void mv_table_room(const struct mv_tables *, struct mv_table *, bool vectors);
void mv_table_free(struct mv_table *);
struct mv_estimate *mv_table_at(const struct mv_tables *, const struct mv_table *, int row, int point);
double *mv_table_vector(const struct mv_tables *, const struct mv_table *, int row, int point);
/* Sets a figure of a row at a point, and adds it to the row's average. */
void mv_table_set(const struct mv_tables *, struct mv_table *, int row, int point, int figure,
                  const struct mv_estimate *, const double *errors);

void mv_table_finish(const struct mv_tables *, struct mv_table *);

enum mv_table_kind { MV_BOARD, MV_SOURCES, MV_DIFFERENCES, MV_TABLES };
void mv_board_plan(const struct mv_tables *, struct mv_table *);
void mv_sources_plan(const struct mv_tables *, struct mv_table *);
void mv_differences_plan(const struct mv_tables *, struct mv_table *);

/* --- a whole run, and its files --------------------------------------------------------------------------------------
 */

struct mv_tables {
  const struct mv_job *job;
  const struct mv_plan *plan;
  struct mv_analysis options;
  int entries, members; /* entries: the run's own, which come first */
  struct mv_member *member;
  struct mv_results *guest_results; /* of the reference run; NULL if there is none */
  struct mv_place reference;        /* what biases are measured against */
  struct mv_table table[MV_TABLES];
  int axis_count; /* names of all leading axes, in order of appearance */
  const char *axis[MV_OUTPUTS_MAX * MV_AXES_MAX];
  int warnings;
  char **warning;
};

/* Reads and computes everything. reference: LABEL, RUN2 or RUN2:LABEL; NULL: the first entry of the estimator called
 * reference, if there is one. Exit code; errors printed. Free the tables in any case. */
int mv_tables_make(struct mv_results *, const struct mv_analysis *, const double *lambda, int lambdas,
                   const char *reference, struct mv_tables *);
void mv_tables_free(struct mv_tables *);
/* Says it on stderr, and keeps it for summary.json. */
void mv_warn(struct mv_tables *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes the named columns of one row, in order. */
struct mv_sink {
  void *self;
  void (*text)(void *self, const char *name, const char *value);
  void (*whole)(void *self, const char *name, int64_t value);
  void (*real)(void *self, const char *name, double value);
};
/* Which setting of which member (-1: none, here and below); suffix: of every name. */
void mv_label_columns(const struct mv_tables *, int member, int setting, const char *suffix, const struct mv_sink *);
/* "backprop truncation=9 lambda=0.4" to out: axes that have a choice, unless they are named in `but`. */
void mv_setting_name(const struct mv_tables *, int member, int setting, const char *but, char *out, size_t size);
void mv_named_real(const struct mv_sink *, const char *name, const char *suffix, double value);
void mv_indexed_reals(const struct mv_sink *, const char *name, const double *x, int count); /* name_0, name_1, ... */
void mv_cell_columns(const struct mv_tables *, int entry, int setting, int point, const struct mv_sink *);
void mv_grid_columns(const struct mv_tables *, int entry, int setting, const struct mv_sink *);

/* Failures stay in the file's error flag. Without rows the header alone: the names of row 0. */
void mv_rows_write(FILE *, int64_t rows, void (*columns)(const void *self, int64_t row, const struct mv_sink *),
                   const void *self);
void mv_cells_write(FILE *, const struct mv_tables *);
void mv_grid_write(FILE *, const struct mv_tables *);
void mv_table_write(FILE *, const struct mv_tables *, enum mv_table_kind);
void mv_summary_write(FILE *, const struct mv_tables *, const char *digest, const double *lambda, int lambdas);
/* Of a training; study: the job's name, or NULL. */
void mv_training_summary_write(FILE *, const struct mv_job *, const char *digest, const char *study);
void mv_table_print(FILE *, const struct mv_tables *);

/* A comma and a number; commas and name_0, name_1, ... */
void mv_csv_put(FILE *, double);
void mv_csv_names(FILE *, const char *name, int count);

/* --- training and return surfaces --------------------------------------------------------------------------------- */

/* A column of a curve at every update, malloc'ed; *fine becomes false if it cannot be read. */
double *mv_curve_column(struct mv_results *, int cell, const char *name, bool *fine);
/* Updates from one row of a table to the next, of at most so many rows: those that are evaluated, if there are. */
int64_t mv_curve_stride(const struct mv_job *, int entry, int64_t most);
/* Entry, estimator, how its fitness is shaped, number of the start, its meta-parameters. */
void mv_start_put(FILE *, const struct mv_plan *, int entry, int start);

/* Tables of a training run. Exit code. */
int mv_curves_write(FILE *, struct mv_results *);
int mv_paths_write(FILE *, struct mv_results *);
int mv_ends_write(FILE *, struct mv_results *);

/* Whether an entry measures the objective alone; and the objective of such entries over the eta points. Exit code. */
bool mv_is_surface(const struct mv_plan *, int entry);
int mv_objective_write(FILE *, struct mv_results *);

/* A file under a temporary name in the directory dir; commit checks that all was written and renames it. Exit codes;
 * errors printed. */
struct mv_draft {
  FILE *file;
  char *temporary, *final;
};
int mv_draft_open(struct mv_draft *, const char *dir, const char *name);
int mv_draft_commit(struct mv_draft *);
void mv_draft_drop(struct mv_draft *); /* nothing appears */

#endif
