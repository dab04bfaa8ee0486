/* task.h - what a task is: a pure inner step, and its derivatives.
 *
 * A file in src/tasks/ is a task. It exports one symbol through MV_TASK(name), draws no random numbers
 * itself (noise is an argument), allocates nothing and keeps no state: the same arguments give the same bits.
 * That makes replay, antithetic pairs, common random numbers, resume and enumeration the same call again.
 * Notation: docs of src/README.md; Vuorio et al. 2022, section 2.
 */
#ifndef METAVAR_TASK_H
#define METAVAR_TASK_H

#include "metavar/field.h"
#include "metavar/num.h"

/* How the derivative of the sampled inner update treats the sampling distribution. */
enum mv_hessian {
  MV_PATHWISE, /* samples held fixed: exact derivative of the update given its batch */
  MV_DICE,     /* derivative through the magic box (Foerster et al. 2018): adds score x score terms */
  MV_HESSIANS
};
extern const char *const mv_hessian_names[]; /* "pathwise", "dice", NULL */

/* How a categorical choice uses its noise. */
enum mv_sampler {
  MV_INVERSE_CDF, /* one uniform a choice */
  MV_GUMBEL,      /* argmax of logit + Gumbel noise: arity uniforms a choice, better coupled under perturbation */
  MV_FORCED,      /* the choice is given: enumeration of all histories through production code */
};
extern const char *const mv_sampler_names[]; /* "inverse_cdf", "gumbel", NULL */

/* Noise that one call consumes, per lane. */
struct mv_draws {
  int uniforms; /* environment noise, U(0,1), open interval */
  int normals;  /* environment noise, N(0,1) */
  int choices;  /* categorical choices of the learner */
  int arity;    /* alternatives of each choice */
};

struct mv_noise {
  const num *uniform; /* [uniforms] */
  const num *normal;  /* [normals] */
  const num *choice;  /* inverse_cdf: [choices] uniforms; gumbel: [choices][arity] uniforms;
                         forced: [choices] indices as numbers */
  enum mv_sampler sampler;
};

struct mv_shape {
  int meta;          /* M, number of meta-parameters */
  int state;         /* nums in theta */
  int instance;      /* nums in a task instance */
  int prepared;      /* nums that prepare() derives from eta and instance once a lifetime */
  int tape;          /* nums that step() leaves for the derivatives of the same step */
  int scratch;       /* nums of mv_life.scratch */
  int lanes;         /* 1: lifetimes one at a time, by the scalar kernel, which has BLAS; 0: as many as the kernel */
  unsigned hessians; /* bit set of (1u << enum mv_hessian) that step_jvp understands */
  bool expected;     /* step reports V_n = E[R_n | theta_n] */
  bool biased; /* the derivative of the surrogate has not the mean D_n, a baseline biases, or steps jump in theta */
  struct mv_draws at_instance, at_init, at_step;
};

/* What one step reports; in a derivative, the tangents of the same. */
struct mv_report {
  num objective; /* R_n: the quantity whose mean over steps is maximised */
  num logp;      /* ell_n: log-likelihood of the choices of this step */
  num surrogate; /* (1/B) sum_bt gamma^t stopgrad(G_bt) log pi(a_bt): its derivative is the direct term D_n */
  num expected;  /* V_n = E[R_n | theta_n], if shape.expected */
  num baseline;  /* what the sampling correction takes from R_n, derivatives stopped; 0, or it may be biased */
};

/* Everything that stays fixed during a lifetime. */
struct mv_life {
  const void *settings;
  int64_t steps;       /* N, lifetime length */
  const num *eta;      /* [meta] */
  const num *instance; /* [instance] */
  const num *prepared; /* [prepared] */
  num *scratch;        /* [scratch]: any call may overwrite it, and leaves nothing in it */
};

/* A block of tangent columns, all with one hessian mode: column c moves eta_c. */
struct mv_columns {
  int count; /* M */
  enum mv_hessian hessian;
  bool expected;            /* somebody reads report->expected */
  bool *zero;               /* [count] the task's own note that a column is zero in every lane: init_jvp may set it */
  num *theta_dot;           /* [count][state]: tangent of theta_n in, of theta_{n+1} out */
  struct mv_report *report; /* [count] out: tangents of this step's report */
};

/* A block of adjoint columns, all with one hessian mode. Column c is the derivative of
 *   phi_c = theta_bar[c] . theta_{n+1} + weight[c] . report_n      (the fields of a report: R_n, ell_n, surrogate, V_n)
 * step_vjp turns theta_bar from d phi / d theta_{n+1} into d phi / d theta_n and adds d phi / d eta to eta_bar; init_vjp
 * adds theta_bar . d theta_0 / d eta to eta_bar. */
struct mv_adjoints {
  int count;
  enum mv_hessian hessian;
  num *theta_bar;                 /* [count][state] */
  num *eta_bar;                   /* [count][meta] */
  const struct mv_report *weight; /* [count] */
};

struct mv_task {
  const char *name; /* the file's name */
  const char *doc;  /* the mathematics and the source, one paragraph */
  const struct mv_field *fields;
  size_t settings_size;

  /* Settings that contradict each other or the lifetime length; may fill in derived defaults. */
  void (*complete)(void *settings, int64_t steps, struct mv_complaints *);
  struct mv_shape (*shape)(const void *settings);
  const char *const *meta_names; /* names of the meta-parameters, or NULL for eta_0, eta_1, ... */

  void (*instance)(const void *settings, const struct mv_noise *, num *instance);
  void (*prepare)(const struct mv_life *, num *prepared); /* may be NULL */
  void (*init)(const struct mv_life *, const struct mv_noise *, num *theta);
  /* theta_next = f(theta, omega_n, eta). The hessian mode changes no real value; it tells the complex build
   * which derivative its imaginary part has to carry. theta_next may not alias theta. */
  void (*step)(const struct mv_life *, int64_t n, const struct mv_noise *, enum mv_hessian, const num *theta,
               num *theta_next, num *tape, struct mv_report *);

  /* Derivatives; NULL: not offered, then only perturbation estimators apply.
   * step_jvp comes after step with the same n, noise, theta and the tape that step left. It serves all blocks at once,
   * so that they share what depends on the primal alone. */
  void (*init_jvp)(const struct mv_life *, struct mv_columns *);
  void (*step_jvp)(const struct mv_life *, int64_t n, const num *theta, const num *tape, struct mv_columns *blocks,
                   int block_count);

  /* The transposes of the two, for the walk backwards; NULL: not offered. The tape is that of the same step. */
  void (*init_vjp)(const struct mv_life *, struct mv_adjoints *);
  void (*step_vjp)(const struct mv_life *, int64_t n, const num *theta, const num *tape, struct mv_adjoints *blocks,
                   int block_count);
};

#ifdef MV_VARIANT
#define MV_JOIN_(a, b, c) a##b##_##c
#define MV_JOIN(a, b, c)  MV_JOIN_(a, b, c)
#define MV_TASK(name)     const struct mv_task MV_JOIN(mv_task_, name, MV_VARIANT)
#endif

#endif
