/* comm_mpi.c - the message verbs of comm.h over MPI. The only file that sees mpi.h.
 *
 * MPI starts only when a launcher started this process; a bare `metavar run` is a world of one rank, so it works where
 * no MPI does. Only the main thread of a process calls these functions (MPI_THREAD_FUNNELED). There is no reduction
 * here on purpose: sums of floating-point numbers over ranks would depend on their number.
 *
 * MPI counts bytes in an int. Results are cut to a few dozen MiB (schedule.c), so a larger message is a bug.
 *
 * A send or a receive that blocks waits for the other process to call MPI, which it does when its unit is computed: Open
 * MPI's shared memory lets go of 256 bytes at once, and TCP hands over a large message only while both sides look. So
 * only what has been tested is over here, and nothing waits at full speed.
 */
#include "metavar/comm.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mpi.h>

#include "metavar/clock.h"
#include "metavar/memory.h"

#define HOST_MAX    256
#define SPINS       1000                /* polls at full speed */
#define NAP_STEP    5000                /* ns; each sleep is so much longer than the last, */
#define NAP_MOST    1000000             /* up to this */
#define TAG_BYE     1000                /* of the end; not for others */
#define GAP_SECONDS 1.0                 /* longer between two polls: this process was stopped */
#define ARRIVING    ((size_t)256 << 20) /* bytes awaited here beyond which senders wait */

struct posted { /* a message that its receiver has not taken yet */
  struct posted *next;
  MPI_Request request;
  void *bytes;
  size_t room; /* that bytes have */
};

struct arrival { /* a message that is under way here */
  struct arrival *next;
  MPI_Request request;
  int source, tag;
  void *bytes;
  size_t size, room;
  size_t awaited; /* size, or 0: set aside */
};

struct mv_comm {
  bool mpi, by_mpirun, lost; /* lost: a rank does not answer any more */
  int rank, size;
  char host[HOST_MAX];
  struct mv_traffic traffic;
  struct posted *posted;
  void *spare; /* the largest buffer that is free again: fresh memory costs as much as a copy */
  size_t spare_size;
  void *lent; /* the last that mv_comm_buffer gave, and its room */
  size_t lent_size;
  MPI_Request loan;                /* of mv_comm_lend */
  struct arrival *arriving, *free; /* oldest first; for others, with their buffers */
  size_t awaited;                  /* bytes, of all that arrives */
};

/* The rank that the launcher gave this process, as text; NULL without launcher. Open MPI's mpirun; PMIx (srun
 * --mpi=pmix); PMI-1 and PMI-2 (Hydra, srun --mpi=pmi2). */
static const char *launcher_rank(void)
{
  static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "PMI_ID"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *rank = getenv(names[i]);
    if (rank) {
      return rank;
    }
  }
  return NULL;
}

bool mv_comm_speaks(void)
{
  const char *rank = launcher_rank();
  return !rank || !strcmp(rank, "0");
}

bool mv_comm_may_leave(void) { return !launcher_rank() || getenv("OMPI_COMM_WORLD_RANK"); }

/* Whoever has spoken for all ranks so far has to be rank 0. */
static void check_rank(const struct mv_comm *c, bool spoke)
{
  if (spoke == (c->rank == 0)) {
    return;
  }
  fprintf(
      stderr,
      "metavar: the launcher's variables name another rank 0 than MPI, for which this is rank %d of %d. Launcher and "
      "MPI library do not fit: use mpirun, or another --mpi= of srun. Without launcher the variables are left over: "
      "unset OMPI_COMM_WORLD_RANK PMIX_RANK PMI_RANK PMI_ID\n",
      c->rank, c->size);
  MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
}

struct mv_comm *mv_comm_start(int *argc, char ***argv)
{
  struct mv_comm *c = mv_memory_take(1, sizeof *c);
  c->size = 1;
  c->loan = MPI_REQUEST_NULL;
  c->mpi = launcher_rank() != NULL;
  c->by_mpirun = getenv("OMPI_COMM_WORLD_RANK") != NULL; /* asked now: MPI_Init sets it too */
  bool speaks = mv_comm_speaks();
  if (gethostname(c->host, sizeof c->host - 1)) {
    strcpy(c->host, "unknown");
  }
  if (c->mpi) {
    int provided;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    if (provided < MPI_THREAD_FUNNELED) {
      fprintf(stderr, "metavar: this MPI library does not allow threads beside the one that sends messages\n");
      MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &c->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->size);
    check_rank(c, speaks);
  }
  return c;
}

int mv_comm_rank(const struct mv_comm *c) { return c->rank; }

int mv_comm_size(const struct mv_comm *c) { return c->size; }

const char *mv_comm_host(const struct mv_comm *c) { return c->host; }

struct mv_traffic mv_comm_traffic(const struct mv_comm *c) { return c->traffic; }

const char *mv_comm_library(void)
{
  static char text[MPI_MAX_LIBRARY_VERSION_STRING];
  if (!*text) {
    int length;
    MPI_Get_library_version(text, &length); /* one of the few calls allowed before MPI_Init */
    text[strcspn(text, "\n")] = 0;
  }
  return text;
}

static int count_of(size_t size)
{
  assert(size <= INT_MAX && "message of more than 2 GiB: work units must be smaller");
  return (int)size;
}

static void count(struct mv_comm *c, size_t size)
{
  c->traffic.messages++;
  c->traffic.bytes += (int64_t)size;
}

void *mv_comm_buffer(struct mv_comm *c, size_t size)
{
  const bool again = c->spare_size >= size;
  c->lent = again ? c->spare : mv_memory_grow(NULL, size, 1);
  c->lent_size = again ? c->spare_size : size;
  if (again) {
    c->spare = NULL;
    c->spare_size = 0;
  }
  return c->lent;
}

void mv_comm_post(struct mv_comm *c, int to, int tag, void *bytes, size_t size)
{
  assert(c->mpi && to != c->rank);
  struct posted *p = mv_memory_take(1, sizeof *p);
  p->bytes = bytes;
  p->room = bytes == c->lent ? c->lent_size : size;
  p->next = c->posted;
  c->posted = p;
  c->lent = NULL;
  count(c, size);
  MPI_Isend(bytes, count_of(size), MPI_BYTE, to, tag, MPI_COMM_WORLD, &p->request);
}

void mv_comm_send(struct mv_comm *c, int to, int tag, const void *bytes, size_t size)
{
  void *copy = mv_memory_grow(NULL, size, 1);
  if (size > 0) {
    memcpy(copy, bytes, size);
  }
  mv_comm_post(c, to, tag, copy, size);
}

/* Frees what has been taken, or keeps its buffer. */
static void clear_posted(struct mv_comm *c)
{
  for (struct posted **at = &c->posted; *at;) {
    struct posted *p = *at;
    int over;
    MPI_Test(&p->request, &over, MPI_STATUS_IGNORE);
    if (over) {
      *at = p->next;
      bool larger = p->room > c->spare_size;
      free(larger ? c->spare : p->bytes);
      c->spare = larger ? p->bytes : c->spare;
      c->spare_size = larger ? p->room : c->spare_size;
      free(p);
    } else {
      at = &p->next;
    }
  }
}

/* Begins to receive the message that a probe has found; its size. */
static size_t begin(const MPI_Status *found, void **buffer, size_t *room, MPI_Request *request)
{
  int size;
  MPI_Get_count(found, MPI_BYTE, &size);
  if ((size_t)size > *room || !*buffer) {
    free(*buffer);
    *room = size > 0 ? (size_t)size : 1;
    *buffer = mv_memory_grow(NULL, *room, 1);
  }
  MPI_Irecv(*buffer, size, MPI_BYTE, found->MPI_SOURCE, found->MPI_TAG, MPI_COMM_WORLD, request);
  return (size_t)size;
}

/* Waiting without keeping a core busy: polls at full speed at first, then with longer and longer sleeps. Time in which
 * this process was itself stopped does not count. */
struct patience {
  double waited, seconds, last;
  int64_t polls;
};

static bool wait_more(struct patience *p)
{
  double now = mv_clock_monotonic(), gap = p->polls > 0 ? now - p->last : 0;
  p->waited += gap < GAP_SECONDS ? gap : 0;
  p->last = now;
  int64_t sleeps = ++p->polls - SPINS;
  if (sleeps > 0) {
    struct timespec nap = {0, sleeps * NAP_STEP < NAP_MOST ? sleeps * NAP_STEP : NAP_MOST};
    nanosleep(&nap, NULL);
  }
  return p->waited < p->seconds;
}

void mv_comm_lend(struct mv_comm *c, int to, int tag, const void *bytes, size_t size)
{
  assert(c->mpi && to != c->rank && c->loan == MPI_REQUEST_NULL);
  count(c, size);
  MPI_Isend(bytes, count_of(size), MPI_BYTE, to, tag, MPI_COMM_WORLD, &c->loan);
}

static bool over_within(MPI_Request *request, double seconds)
{
  struct patience p = {.seconds = seconds};
  int over;
  do {
    MPI_Test(request, &over, MPI_STATUS_IGNORE);
  } while (!over && wait_more(&p));
  return over;
}

bool mv_comm_taken(struct mv_comm *c, double seconds) { return over_within(&c->loan, seconds); }

bool mv_comm_receive(struct mv_comm *c, int from, double seconds, int *tag, void **buffer, size_t *capacity,
                     size_t *size)
{
  assert(c->mpi && from != c->rank);
  MPI_Status found;
  MPI_Request request;
  struct patience p = {.seconds = seconds};
  int there;
  do {
    MPI_Iprobe(from, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &found);
  } while (!there && wait_more(&p));
  if (!there) {
    return false;
  }
  *tag = found.MPI_TAG;
  *size = begin(&found, buffer, capacity, &request);
  count(c, *size);
  return over_within(&request, seconds);
}

static void accept(struct mv_comm *c)
{
  int there = 0;
  MPI_Status found;
  if (c->awaited <= ARRIVING) {
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &found);
  }
  if (!there) {
    return;
  }
  struct arrival *a = c->free ? c->free : mv_memory_take(1, sizeof *a), **last = &c->arriving;
  c->free = a->next;
  a->next = NULL;
  a->source = found.MPI_SOURCE;
  a->tag = found.MPI_TAG;
  a->size = a->awaited = begin(&found, &a->bytes, &a->room, &a->request);
  c->awaited += a->awaited;
  while (*last) {
    last = &(*last)->next;
  }
  *last = a;
}

/* All here, and the oldest message of its sender. */
static bool arrived(const struct mv_comm *c, struct arrival *a)
{
  int over; /* also of one that was over before */
  MPI_Test(&a->request, &over, MPI_STATUS_IGNORE);
  for (const struct arrival *other = c->arriving; over && other != a; other = other->next) {
    over = other->source != a->source;
  }
  return over;
}

bool mv_comm_poll(struct mv_comm *c, int *source, int *tag, void **buffer, size_t *capacity, size_t *size)
{
  if (!c->mpi) {
    return false;
  }
  clear_posted(c);
  accept(c);
  struct arrival **at = &c->arriving;
  while (*at && !arrived(c, *at)) {
    at = &(*at)->next;
  }
  struct arrival *a = *at;
  if (!a) {
    return false;
  }
  *at = a->next;
  const struct arrival old = {.next = c->free, .bytes = *buffer, .room = *capacity};
  *source = a->source;
  *tag = a->tag;
  *buffer = a->bytes;
  *capacity = a->room;
  *size = a->size;
  c->awaited -= a->awaited;
  count(c, a->size);
  *a = old;
  c->free = a;
  return true;
}

bool mv_comm_arriving(const struct mv_comm *c) { return c->awaited > 0; }

void mv_comm_set_aside(struct mv_comm *c, int rank)
{
  for (struct arrival *a = c->arriving; a; a = a->next) {
    if (a->source == rank) {
      c->awaited -= a->awaited;
      a->awaited = 0;
    }
  }
}

void mv_comm_share(struct mv_comm *c, void *bytes, size_t size)
{
  if (c->mpi && !c->lost) {
    MPI_Bcast(bytes, count_of(size), MPI_BYTE, 0, MPI_COMM_WORLD);
  }
}

void mv_comm_gather(struct mv_comm *c, const void *bytes, size_t size, void *out)
{
  assert(!c->lost);
  if (c->mpi) {
    MPI_Gather(bytes, count_of(size), MPI_BYTE, out, count_of(size), MPI_BYTE, 0, MPI_COMM_WORLD);
  } else {
    memcpy(out, bytes, size);
  }
}

void mv_comm_lose(struct mv_comm *c) { c->lost = true; }

/* Rank 0 tells everybody the exit code; false: not all have answered in time. */
static bool part(struct mv_comm *c, int exit_code, double seconds)
{
  struct patience p = {.seconds = seconds};
  int here = 1, there;
  for (int rank = 1; rank < c->size; rank++) {
    MPI_Send(&exit_code, sizeof exit_code, MPI_BYTE, rank, TAG_BYE, MPI_COMM_WORLD);
  }
  do {
    MPI_Iprobe(MPI_ANY_SOURCE, TAG_BYE, MPI_COMM_WORLD, &there, MPI_STATUS_IGNORE);
    if (there) {
      MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, TAG_BYE, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      here++;
    }
  } while (here < c->size && (there || wait_more(&p)));
  if (here < c->size) {
    fprintf(stderr, "metavar: the work is over, but a rank has not answered for %.0f s; ending it\n", seconds);
  }
  return here == c->size;
}

int mv_comm_stop(struct mv_comm *c, int exit_code, double patience)
{
  if (c->mpi && c->rank == 0) {
    fflush(NULL);
    /* MPI_Finalize would wait for ever for a rank that does not answer. And mpirun takes up to 2.5 s and two banners to
     * pass on an exit code of processes that have ended well, but 0.4 s and one banner for an abort. Under srun an
     * abort would lose the code. */
    if (c->lost || (exit_code != 0 && c->by_mpirun) || !part(c, exit_code, patience)) {
      mv_comm_abort(c, exit_code);
    }
  } else if (c->mpi) {
    int *end = NULL, tag;
    size_t capacity = 0, size;
    mv_comm_receive(c, 0, INFINITY, &tag, (void **)&end, &capacity, &size);
    exit_code = *end;
    free(end);
    MPI_Send(NULL, 0, MPI_BYTE, 0, TAG_BYE, MPI_COMM_WORLD);
  }
  if (c->mpi) {
    clear_posted(c); /* everybody has said goodbye, so all are taken */
    MPI_Finalize();
  }
  while (c->free) {
    struct arrival *a = c->free;
    c->free = a->next;
    free(a->bytes);
    free(a);
  }
  free(c->spare);
  free(c);
  return exit_code;
}

_Noreturn void mv_comm_abort(struct mv_comm *c, int exit_code)
{
  fflush(NULL);
  if (c->mpi) {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  _Exit(exit_code);
}
