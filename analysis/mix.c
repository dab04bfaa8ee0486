/* mix.c - weighted means of two estimators that look at the same task instances and random numbers.
 *
 *     bias(w) = w bias_a + (1 - w) bias_b,     V(w) = w^2 V_a + 2 w (1 - w) C + (1 - w)^2 V_b,
 * C = tr Cov of one sample of a with the sample of b that shares its random numbers: biases that oppose each other and
 * errors that do not share their sign cancel. Settings of two entries have but their groups' means in common, so C comes
 * from the scatter of the groups (panel.c): n of them replace n_g samples each.
 */
#include <math.h>

#include "metavar/budget.h"
#include "metavar/memory.h"

const double mv_mix_weights[3] = {0, 0.5, 1};

struct mv_mix mv_mix_make(double cost, int resamples)
{
  struct mv_mix m = {.resamples = resamples};
  m.errors = mv_memory_take(6 * (size_t)resamples, sizeof *m.errors);
  for (int k = 0; k < 3; k++)
    m.offer[k] = (struct mv_offer){.cost = cost,
                                   .bias2_errors = m.errors + 2 * k * resamples,
                                   .variance_errors = m.errors + (2 * k + 1) * resamples};
  return m;
}

void mv_mix_free(struct mv_mix *m)
{
  free(m->errors);
  *m = (struct mv_mix){0};
}

/* C from groups that enter times[g] times (NULL: once) about the means a, b. */
static double covariance(const struct mv_panel *p, const uint8_t *times, const double *a, const double *b)
{
  const struct mv_groups *x = &p->sheet[0].groups, *y = &p->sheet[1].groups;
  int groups = x->groups < y->groups ? x->groups : y->groups, first = p->sheet[0].first;
  double n = 0, k = 0, sum = 0, paired = 0, lost = 0, product = 0;
  if (first != p->sheet[1].first)
    return 0;
  for (int g = 0; g < x->groups; g++)
    n += (double)x->count[g] * (times ? times[first + g] : 1);
  for (int g = 0; g < y->groups; g++)
    k += (double)y->count[g] * (times ? times[first + g] : 1);
  for (int g = 0; g < groups; g++) {
    double c = times ? times[first + g] : 1, dot = 0, u = (double)x->count[g], v = (double)y->count[g];
    for (int m = 0; m < p->meta && u > 0 && v > 0; m++)
      dot += (x->mean[g * p->meta + m] - a[m]) * (y->mean[g * p->meta + m] - b[m]);
    double least = u < v ? u : v;
    sum += c * u * v * dot;
    paired += c * least;
    lost += c * least * (u / n + v / k);
    product += c * (u / n) * (v / k);
  }
  return sum == 0 ? 0 : sum / (paired * (1 - lost / paired + product));
}

static double blend(double w, double a, double b, double c)
{
  return w * w * a + 2 * w * (1 - w) * c + (1 - w) * (1 - w) * b;
}

/* |w a + (1 - w) b - reference|^2; errors: [resamples] or NULL. */
static double bias2(const struct mv_panel *p, double w, double confidence, double *errors)
{
  struct mv_term terms[] = {{0, 0, w}, {1, 0, 1 - w}, {2, 0, -1}};
  struct mv_vector v;
  mv_vector_make(&v, p, 3, terms);
  double value = mv_vector_product(&v, &v, confidence, errors).value;
  mv_vector_free(&v);
  return value;
}

static void add_half(struct mv_mix *mix, const struct mv_panel *whole, const struct mv_term *pick, int parity)
{
  struct mv_panel p = mv_panel_part(whole, 3, pick, parity);
  mv_panel_close(&p, 0, 0);
  double a = mv_panel_variance(&p, 0, 0, 0.95, NULL).value, b = mv_panel_variance(&p, 1, 0, 0.95, NULL).value;
  double c = covariance(&p, NULL, p.sheet[0].mean, p.sheet[1].mean);
  for (int k = 0; k < 3; k++) {
    mix->half[k].bias2[parity] += bias2(&p, mv_mix_weights[k], 0.95, NULL);
    mix->half[k].variance[parity] += blend(mv_mix_weights[k], a, b, c);
  }
  mv_panel_part_free(&p);
}

void mv_mix_add(struct mv_mix *mix, const struct mv_panel *whole, const struct mv_term *a, const struct mv_term *b,
                const struct mv_term *reference, uint32_t stream, double confidence)
{
  const struct mv_term pick[] = {*a, *b, *reference};
  const int count = mix->resamples, meta = whole->meta;
  struct mv_panel p = mv_panel_part(whole, 3, pick, -1);
  double *work = mv_memory_take(4 * (size_t)count, sizeof *work), *bias = work + 3 * count, mean[2 * meta];
  mv_panel_close(&p, count, stream);
  double va = mv_panel_variance(&p, 0, 0, confidence, work).value;
  double vb = mv_panel_variance(&p, 1, 0, confidence, work + count).value;
  double c = covariance(&p, NULL, p.sheet[0].mean, p.sheet[1].mean);
  double wide = mv_widening(p.sheet[0].filled < p.sheet[1].filled ? p.sheet[0].filled : p.sheet[1].filled, confidence);
  for (int r = 0; r < count; r++) {
    for (int m = 0; m < 2 * meta; m++)
      mean[m] = p.sheet[m / meta].mean[m % meta] + p.sheet[m / meta].error[r * meta + m % meta];
    work[2 * count + r] = wide * (covariance(&p, p.times + (int64_t)r * p.groups, mean, mean + meta) - c);
  }
  for (int k = 0; k < 3; k++) {
    double w = mv_mix_weights[k], *into = mix->errors + 2 * k * count;
    mix->offer[k].bias2 += bias2(&p, w, confidence, bias);
    mix->offer[k].variance += blend(w, va, vb, c);
    for (int r = 0; r < count; r++) {
      into[r] += bias[r];
      into[count + r] += blend(w, work[r], work[count + r], work[2 * count + r]);
    }
  }
  free(work);
  mv_panel_part_free(&p);
  for (int parity = 0; parity < 2; parity++)
    add_half(mix, whole, pick, parity);
  mix->points++;
}

void mv_mix_finish(struct mv_mix *mix)
{
  for (int k = 0; k < 3; k++) {
    mix->offer[k].bias2 /= mix->points;
    mix->offer[k].variance /= mix->points;
    for (int half = 0; half < 2; half++) {
      mix->half[k].bias2[half] /= mix->points;
      mix->half[k].variance[half] /= mix->points;
    }
  }
  for (int i = 0; i < 6 * mix->resamples; i++)
    mix->errors[i] /= mix->points;
}
