/* config.h - inside the job-file reader (src/config_*.c): the document as a tree, the errors found so far, and who
 * checks what. Nobody else includes it.
 *
 *   config_file.c      the file's bytes
 *   config_yaml.c      bytes -> tree of nodes, each with its place (libyaml)
 *   config_override.c  --set path=value, applied to the tree
 *   config_value.c     node -> typed setting, through the field tables; ranges
 *   config_number.c    text -> number, strictly
 *   config_eta.c       eta: grid, zip, points
 *   config_entry.c     estimators: sweeps, labels, limits
 *   config_train.c     train: the outer loop
 *   config_job.c       the job as a whole
 *   config_error.c     all errors of one pass, sorted by place
 *   config_canonical.c the job as text again
 */
#ifndef METAVAR_CONFIG_H
#define METAVAR_CONFIG_H

#include "metavar/job.h"
#include <stdarg.h>

#define MV_JOB_FILE_MAX (1 << 20)  /* bytes of a job file */
#define MV_JOB_TEXT_MAX (32 << 20) /* bytes of a job in memory: a canonical job spells every eta point out */
#define MV_DEPTH_MAX    32         /* nesting */
#define MV_KEYS_MAX     256        /* keys of one mapping */
#define MV_NUMBERS_MAX  1000000    /* numbers that the ranges of one file expand into; numbers in eta */
#define MV_ENTRIES_MAX  4096       /* estimator entries, sweeps expanded: each is a group of results.h5 */
#define MV_CELLS_MAX    1000000    /* eta points x entries */
#define MV_ERRORS_MAX   100        /* errors printed; the rest is counted */

/* Memory that a bug alone could exhaust: aborts instead of returning NULL. */
void *mv_config_alloc(size_t bytes); /* zeroed */

struct mv_place {
  int line, column;   /* from 1; 0: the file as a whole */
  const char *origin; /* "--set a.b" for what came from there, else NULL */
};

enum mv_node_kind { MV_SCALAR, MV_LIST, MV_MAP };

struct mv_node {
  enum mv_node_kind kind;
  struct mv_place place;
  bool quoted; /* scalar in quotes, so never a number */
  bool bad;    /* reported already: whoever meets it again keeps quiet */
  int count;   /* children of a list or mapping */
  struct mv_node *first, *last, *next;
  struct mv_node *key;   /* of a child of a mapping */
  struct mv_node *older; /* every node of the config, for freeing */
  char text[];           /* scalar */
};

struct mv_error {
  struct mv_place place;
  int order;
  char *text;
};

/* One reading of one job file. */
struct mv_config {
  const char *name; /* the path, for messages */
  const struct mv_kernel *kernel;
  struct mv_node *nodes; /* newest first */
  int64_t expanded;      /* numbers that ranges have made */
  struct mv_error error[MV_ERRORS_MAX];
  int error_count, error_more;
};
void mv_config_free(struct mv_config *);

/* --- errors: "path:line:column: key: what is wrong; what to do" --- */
void mv_error_at(struct mv_config *, struct mv_place, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same at a node, which becomes bad; nothing if it was. key may be NULL. */
void mv_error_node(struct mv_config *, struct mv_node *, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void mv_error_list(struct mv_config *, struct mv_place, const char *key, const char *format, va_list);
void mv_error_print(struct mv_config *, void *report); /* sorted by place */
bool mv_config_failed(const struct mv_config *);

/* "; did you mean "x"?" when some word is near, and "; known: a, b, c" when none is or `all` is set. */
#define MV_HINT_MAX 640
const char *mv_hint_make(char out[MV_HINT_MAX], const char *word, const char *const *words, int count, bool all);

/* --- tree --- */
struct mv_node *mv_node_make(struct mv_config *, enum mv_node_kind, struct mv_place, const char *text, size_t length);
void mv_node_append(struct mv_node *parent, struct mv_node *key, struct mv_node *child);
struct mv_node *mv_node_get(const struct mv_node *map, const char *key); /* NULL if absent or not a mapping */
struct mv_node *mv_node_item(const struct mv_node *parent, int64_t index);
const char *mv_node_kind_name(const struct mv_node *);
/* NULL after a report. origin: NULL for the file. */
struct mv_node *mv_yaml_parse(struct mv_config *, const char *text, size_t length, const char *origin);
/* Applies one "path=value" to the tree below root. */
void mv_override_apply(struct mv_config *, struct mv_node *root, const char *override);

/* --- numbers: NULL when fine, else the reason --- */
const char *mv_number_read(const char *text, double *out);
const char *mv_integer_read(const char *text, bool *negative, uint64_t *magnitude);

/* --- typed values --- */
bool mv_value_read(struct mv_config *, const struct mv_field *, struct mv_node *, void *settings);
/* A list stays; a number becomes a list of one, a range the list of its numbers. NULL after a report. */
struct mv_node *mv_value_list(struct mv_config *, const char *key, struct mv_node *);
/* Reads the keys of one table from a mapping over the defaults already in settings. False: some value that has no
 * default is missing or wrong, so settings cannot be used. Leaves alone the keys for which skip holds. */
typedef bool mv_value_skip(const struct mv_field *, const struct mv_node *);
bool mv_table_read(struct mv_config *, struct mv_node *map, const char *where, const struct mv_field *, void *settings,
                   mv_value_skip *);
/* Reports the keys of map that are in none of the tables (either may be NULL) nor among the words. */
void mv_keys_check(struct mv_config *, struct mv_node *map, const char *where, const struct mv_field *,
                   const struct mv_field *, const char *const *words);

/* What `complete` hooks complain to. */
struct mv_complaints {
  struct mv_config *config;
  struct mv_node *map;
  int count;
};

/* --- parts of a job; they report, and leave the job incomplete when they do --- */
/* M = 0: not known, because the task is wrong; then only the form is checked. */
void mv_eta_read(struct mv_config *, struct mv_node *, int meta, struct mv_job *);
/* Before the entries. */
void mv_train_read(struct mv_config *, struct mv_node *, struct mv_job *);
/* After eta: one curve for each start and seed. */
void mv_train_curves(struct mv_config *, struct mv_node *, struct mv_job *);
/* What a row of estimators must satisfy to be followed; complains at the keys of map. */
void mv_train_check(struct mv_config *, struct mv_node *map, const struct mv_job *, const struct mv_entry *);
/* ready: job->problem is filled in, so that hooks may be called. */
void mv_entries_read(struct mv_config *, struct mv_node *, bool ready, struct mv_job *);

#endif
