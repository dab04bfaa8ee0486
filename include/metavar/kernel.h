/* kernel.h - the builds of the inner loops, one per number type and instruction set, all with the same bits. */
#ifndef METAVAR_KERNEL_H
#define METAVAR_KERNEL_H

#include "metavar/estimator.h"

struct mv_kernel {
  const char *name;                             /* "scalar", "shadow", "x86_64", "x86_64_v3", "x86_64_v4" */
  int lanes;                                    /* lifetimes side by side */
  const struct mv_task *const *tasks;           /* NULL-terminated, sorted by name; same order in every kernel */
  const struct mv_estimator *const *estimators; /* likewise */
  const char *const *task_files, *const *estimator_files; /* the names of their files */
  void (*walk_run)(struct mv_walk *, mv_observe *, void *self);
  size_t (*walk_bytes)(const struct mv_problem *, int block_count);
  void (*walk_back)(struct mv_walk *, int64_t records, mv_observe *, mv_weigh *, void *self);
  size_t (*walk_back_bytes)(const struct mv_problem *, int64_t records, int block_count, int columns);
  /* C[m][n] += A[m][k] B[k][n], fast for few rows (few_rows.h) */
  void (*few_rows)(int m, int n, int k, const double *a, const double *b, double *c);
  /* [count] functions of the lanes, for tests: exp, log, log1p, sin and cos of 2 pi x, each over n doubles */
  void (*math)(const char *function, const double *x, double *y, int n);
  /* count uniforms or normals of every lane, as a walk draws them: out[count][lanes] */
  void (*draw)(const struct mv_coords *, enum mv_purpose, int64_t step, int count, double *out);
};

/* Every kernel this machine can run; the number of them. */
int mv_kernel_list(const struct mv_kernel *out[8]);

/* The fastest one; METAVAR_ISA=scalar|x86_64|x86_64_v3|x86_64_v4 in the environment overrides. */
const struct mv_kernel *mv_kernel_best(void);

/* What serves a task of this shape: the given kernel, or the scalar one where lifetimes go one at a time. */
const struct mv_kernel *mv_kernel_for(const struct mv_kernel *, const struct mv_shape *);

/* Its name for the records: with the kernels of OpenBLAS where tasks of this shape need it, "scalar+Haswell". */
#define MV_KERNEL_LABEL 40
void mv_kernel_label(const struct mv_kernel *, const struct mv_shape *, char out[MV_KERNEL_LABEL]);

/* By name, NULL if this machine cannot run it. */
const struct mv_kernel *mv_kernel_find(const char *name);

/* Tasks and estimators by name, in any kernel; NULL if there is none. */
const struct mv_task *mv_task_find(const struct mv_kernel *, const char *name);
const struct mv_estimator *mv_estimator_find(const struct mv_kernel *, const char *name);

#endif
