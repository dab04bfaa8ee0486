/* variant.c - one build of the inner loops: its tasks, estimators and entry points in one table. Compiled once per variant. */
#include <string.h>

#include "metavar/kernel.h"
#include "metavar/math.h"
#include "metavar/noise.h"

#define MV_REGISTER_TASK(name) extern const struct mv_task MV_JOIN(mv_task_, name, MV_VARIANT);
#define MV_REGISTER_ESTIMATOR(name) extern const struct mv_estimator MV_JOIN(mv_estimator_, name, MV_VARIANT);
#include "registry.h"
#undef MV_REGISTER_TASK
#undef MV_REGISTER_ESTIMATOR

static const struct mv_task *const tasks[] = {
#define MV_REGISTER_TASK(name) &MV_JOIN(mv_task_, name, MV_VARIANT),
#define MV_REGISTER_ESTIMATOR(name)
#include "registry.h"
    NULL};
#undef MV_REGISTER_TASK
#undef MV_REGISTER_ESTIMATOR

static const struct mv_estimator *const estimators[] = {
#define MV_REGISTER_TASK(name)
#define MV_REGISTER_ESTIMATOR(name) &MV_JOIN(mv_estimator_, name, MV_VARIANT),
#include "registry.h"
    NULL};

#define MV_TEXT_(x) #x
#define MV_TEXT(x) MV_TEXT_(x)
