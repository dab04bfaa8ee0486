/* board.c - the reference board: the distance of every setting from each objective that it may be held against.
 *
 * exact             J itself: the reference
 * smoothed          J smoothed over eta by N(0, sigma^2 I)
 * window            the window-weighted objective of the setting's own window
 * smoothed_window   both
 * Estimators of different families are unbiased for different objectives; own_target marks the setting's own. There the
 * squared bias has to be 0 within its error; elsewhere it tells how far apart the objectives are.
 */
#include <math.h>
#include <string.h>

#include "metavar/analysis.h"
#include "metavar/memory.h"

struct comparison {
  int member, setting;
  const char *target;
  struct mv_place to;
  bool own;
};

/* All smoothings that some setting is unbiased for, each once; malloc'ed. */
static double *smoothings(const struct mv_tables *t, int *number)
{
  double *out = NULL;
  int count = 0;
  for (int e = 0; e < t->members; e++)
    for (int s = 0; s < t->member[e].settings.count; s++) {
      struct mv_aim aim = mv_member_aim(&t->member[e], s);
      bool known = aim.smoothing == 0;
      for (int k = 0; k < count; k++)
        known = known || out[k] == aim.smoothing;
      if (!known) {
        out = mv_memory_grow(out, (size_t)count + 1, sizeof *out);
        out[count++] = aim.smoothing;
      }
    }
  *number = count;
  return out;
}

struct list {
  struct comparison *at;
  int count;
};

static void add(struct list *list, int e, int s, const char *target, struct mv_place to, bool own)
{
  if (to.member < 0 || (to.member == e && to.setting == s))
    return;
  list->at = mv_memory_grow(list->at, (size_t)list->count + 1, sizeof *list->at);
  list->at[list->count++] = (struct comparison){e, s, target, to, own};
}

static void add_setting(const struct mv_tables *t, struct list *list, int e, int s, const double *sigma, int sigmas)
{
  const struct mv_aim aim = mv_member_aim(&t->member[e], s), exact = {.length = t->job->lifetime_length};
  add(list, e, s, "exact", t->reference, aim.unbiased && mv_aim_equal(&aim, &exact));
  for (int k = -1; k < sigmas; k++) {
    struct mv_aim whole = exact, window = aim;
    whole.smoothing = window.smoothing = k < 0 ? 0 : sigma[k];
    if (k >= 0)
      add(list, e, s, "smoothed", mv_find_aim(t, &whole, -1), aim.unbiased && mv_aim_equal(&aim, &whole));
    if (aim.length < exact.length)
      add(list, e, s, k < 0 ? "window" : "smoothed_window", mv_find_aim(t, &window, e),
          aim.unbiased && mv_aim_equal(&aim, &window));
  }
}

static void fill(const struct mv_tables *t, struct mv_table *table, int row, const struct mv_point *at, int point)
{
  const struct comparison *c = (const struct comparison *)table->self + row;
  double *errors = mv_memory_take((size_t)t->options.resamples, sizeof *errors);
  struct mv_vector d;
  mv_vector_make(&d, at->panel, 2, (struct mv_term[]){{c->member, c->setting, 1}, {c->to.member, c->to.setting, -1}});
  struct mv_estimate bias = mv_vector_product(&d, &d, t->options.confidence, errors);
  mv_table_set(t, table, row, point, 0, &bias, errors);
  for (int m = 0; m < t->job->meta; m++)
    mv_table_vector(t, table, row, point)[m] = d.value[m];
  mv_vector_free(&d);
  free(errors);
}

/* The plug-in is the squared length of the vector of values: of each point; averaged over the points. */
static double plugin(const struct mv_tables *t, const struct mv_table *table, int row, int point)
{
  const int first = point < t->job->points ? point : 0, last = point < t->job->points ? point + 1 : t->job->points;
  double sum = 0;
  for (int p = first; p < last; p++)
    for (int m = 0; m < t->job->meta; m++)
      sum += pow(mv_table_vector(t, table, row, p)[m], 2) / (last - first);
  return sum;
}

static void columns(const struct mv_tables *t, const struct mv_table *table, int row, int point,
                    const struct mv_sink *sink)
{
  const struct comparison *c = (const struct comparison *)table->self + row;
  const struct mv_estimate *bias = mv_table_at(t, table, row, point);
  const char *to = c->to.member < 0 ? "" : mv_member_entry(&t->member[c->to.member])->label;
  mv_label_columns(t, c->member, c->setting, "", sink);
  sink->whole(sink->self, "point", point < t->job->points ? point : -1);
  sink->text(sink->self, "target", c->target);
  sink->text(sink->self, "target_entry", to);
  sink->whole(sink->self, "own_target", c->own);
  sink->real(sink->self, "bias2_plugin", plugin(t, table, row, point));
  sink->real(sink->self, "bias2_unbiased", bias->value);
  sink->real(sink->self, "bias2_se", bias->se);
  sink->real(sink->self, "bias2_low", bias->low);
  sink->real(sink->self, "bias2_high", bias->high);
}

void mv_board_plan(const struct mv_tables *t, struct mv_table *table)
{
  int sigmas;
  double *sigma = smoothings(t, &sigmas);
  struct list list = {.at = mv_memory_take(1, sizeof *list.at)};
  *list.at = (struct comparison){-1, -1, "", {-1, -1}, false};
  for (int e = 0; e < t->entries; e++)
    for (int s = 0; s < t->member[e].settings.count; s++)
      if (!t->member[e].settings.at[s].hidden)
        add_setting(t, &list, e, s, sigma, sigmas);
  free(sigma);
  *table = (struct mv_table){.file = "board.csv",
                             .rows = list.count,
                             .pieces = list.count,
                             .figures = 1,
                             .cut = {true},
                             .by_point = true,
                             .self = list.at,
                             .fill = fill,
                             .columns = columns};
  mv_table_room(t, table, true);
}
