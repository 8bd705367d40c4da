/* What the machine itself can do, without a server: the floors that Benchmarks/compare measures Starling against.
 *
 *   floor send SUBSCRIBERS BATCH SECONDS   one frame of 190 bytes, BATCH of them at a time, by send() to each socket
 *   floor fsync FILE SECONDS               256 bytes over and over in a file that does not grow, and fdatasync
 *   floor sqlite FILE BATCH SECONDS [moving] [KEYS]
 *                                          registers at random over 100,000 keys, BATCH to a commit, synchronous=FULL, in the
 *                                          tables and indexes of docs/decisions/0020, whose log is cleaned as Starling does it;
 *                                          moving: in those of before, where a change moved its row. Measured once the
 *                                          write-ahead log has started over twice
 *
 * Prints one line of JSON.    cc -O2 floor.c -o floor -lsqlite3 -lpthread
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

static void die(const char *what) { perror(what); exit(1); }

/* The server is on core 0, its subscribers on core 1. */
static void measure_send(int subscribers, int batch, double limit) {
  enum { frame = 190 };
  int *ours = malloc(subscribers * sizeof *ours), *theirs = malloc(subscribers * sizeof *theirs);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) die("listen");
  getsockname(listener, (void *)&address, &length);
  for (int i = 0; i < subscribers; i++) {
    theirs[i] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(theirs[i], (void *)&address, sizeof address)) die("connect");
    if ((ours[i] = accept(listener, 0, 0)) < 0) die("accept");
    setsockopt(ours[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  volatile long *received = mmap(0, sizeof *received, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (child == 0) {
    pin(1);
    int poll = epoll_create1(0);
    static char buffer[1 << 18];
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    for (int i = 0; i < subscribers; i++) {
      event.data.fd = theirs[i];
      epoll_ctl(poll, EPOLL_CTL_ADD, theirs[i], &event);
    }
    for (;;) {
      int count = epoll_wait(poll, events, 256, -1);
      for (int i = 0; i < count; i++) *received += read(events[i].data.fd, buffer, sizeof buffer);
    }
  }
  pin(0);
  char *bytes = calloc(batch, frame);
  long rounds = 0, size = (long)batch * frame;
  double start = seconds(CLOCK_MONOTONIC), used = cpu();
  while (seconds(CLOCK_MONOTONIC) - start < limit) {
    for (int i = 0; i < subscribers; i++)
      for (long sent = 0; sent < size;) {
        long count = send(ours[i], bytes + sent, size - sent, MSG_NOSIGNAL);
        if (count < 0) die("send");
        sent += count;
      }
    rounds++;
    while (*received < rounds * subscribers * size) usleep(20);
  }
  double deliveries = (double)rounds * subscribers * batch;
  printf("{\"deliveries_per_second\":%.0f,\"cpu_us\":%.4f}\n", deliveries / (seconds(CLOCK_MONOTONIC) - start),
         (cpu() - used) / deliveries * 1e6);
  kill(child, SIGKILL);
  waitpid(child, 0, 0);
}

static int ascending(const void *left, const void *right) {
  double difference = *(const double *)left - *(const double *)right;
  return difference < 0 ? -1 : difference > 0;
}

static void measure_fsync(const char *path, double limit) {
  static double times[1000000];
  static char bytes[1 << 20];
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), count = 0;
  if (write(file, bytes, sizeof bytes) != sizeof bytes || fdatasync(file)) die(path);
  double start = seconds(CLOCK_MONOTONIC);
  while (seconds(CLOCK_MONOTONIC) - start < limit && count < 1000000) {
    double before = seconds(CLOCK_MONOTONIC);
    if (pwrite(file, bytes, 256, (count * 256) % sizeof bytes) != 256 || fdatasync(file)) die(path);
    times[count++] = seconds(CLOCK_MONOTONIC) - before;
  }
  qsort(times, count, sizeof *times, ascending);
  printf("{\"fdatasync_p50_us\":%.0f,\"fdatasync_p99_us\":%.0f}\n", times[count / 2] * 1e6, times[count * 99 / 100] * 1e6);
  unlink(path);
}

static sqlite3 *database;
static const char *database_path;
static volatile int is_done, is_due, is_rest;
static long frames;
static int log_pages;

static void run(const char *sql) {
  if (sqlite3_exec(database, sql, 0, 0, 0)) { fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(database)); exit(1); }
}

static sqlite3_stmt *prepare(const char *sql) {
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, 0)) die(sql);
  return statement;
}

static void step(sqlite3_stmt *statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) { fprintf(stderr, "%s\n", sqlite3_errmsg(database)); exit(1); }
  sqlite3_reset(statement);
}

/* Checkpoints on a thread of its own, as Starling does; the writer moves the rest, so that the log starts over. */
static void *checkpoint(void *unused) {
  sqlite3 *connection;
  sqlite3_open(database_path, &connection);
  while (!is_done) {
    if (is_due) {
      int pages, moved;
      for (int i = 0; i < 4; i++)
        if (sqlite3_wal_checkpoint_v2(connection, 0, SQLITE_CHECKPOINT_PASSIVE, &pages, &moved) || pages - moved < 1000) break;
      sqlite3_file *file;
      if (!sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &file)) file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
      is_rest = 1, is_due = 0;
    }
    usleep(2000);
  }
  sqlite3_close(connection);
  return unused;
}

static int grew(void *unused, sqlite3 *connection, const char *name, int pages) {
  (void)unused, (void)connection, (void)name;
  frames += pages > log_pages ? pages - log_pages : pages;
  log_pages = pages;
  if (pages >= 4000) is_due = 1;
  return SQLITE_OK;
}

enum { maximum_keys = 1000000, run_length = 1024, runs = 16 };
static int is_moving, stale_count, ordered_runs;
static long revisions[maximum_keys], stale[2 * runs * run_length], ordered[runs * run_length];
static int next_of_run[runs];
static sqlite3_stmt *insert, *update, *append, *drop;

static int by_number(const void *left, const void *right) {
  long difference = *(const long *)left - *(const long *)right;
  return difference < 0 ? -1 : difference > 0;
}

/* Deletes some stale rows of the log, in their order, once there are many: merged from runs, so that no commit sorts all of them. */
static void clean(int limit) {
  if (!ordered_runs) {
    if (stale_count < runs * run_length) return;
    memcpy(ordered, stale, sizeof ordered);
    stale_count -= runs * run_length;
    memmove(stale, stale + runs * run_length, stale_count * sizeof *stale);
    memset(next_of_run, 0, sizeof next_of_run);
    ordered_runs = runs;
  }
  while (limit-- > 0 && ordered_runs) {
    int least = -1;
    for (int run = 0; run < runs; run++)
      if (next_of_run[run] < run_length &&
          (least < 0 || ordered[run * run_length + next_of_run[run]] < ordered[least * run_length + next_of_run[least]]))
        least = run;
    sqlite3_bind_int64(drop, 1, ordered[least * run_length + next_of_run[least]]);
    step(drop);
    if (++next_of_run[least] == run_length) ordered_runs--;
  }
}

static void put(long key, long revision) {
  static char name[40], version[60], value[129];
  if (!*value) memset(value, 'x', 128);
  long replaced = revisions[key];
  sqlite3_stmt *write = replaced ? update : insert;
  snprintf(name, sizeof name, "bench:abcdef:%ld", key);
  snprintf(version, sizeof version, "01a0c5d3e800-%04lx-agent-%ld", revision & 0xffff, key % 16);
  sqlite3_bind_int64(write, 1, revision);
  if (is_moving || !replaced) sqlite3_bind_text(write, 2, name, -1, SQLITE_STATIC);
  else sqlite3_bind_int64(write, 2, replaced);
  sqlite3_bind_text(write, 3, version, -1, SQLITE_STATIC);
  sqlite3_bind_text(write, 4, value, 128, SQLITE_STATIC);
  sqlite3_bind_int64(write, 5, is_moving ? replaced : key + 1);
  step(write);
  revisions[key] = revision;
  if (is_moving) return;
  sqlite3_bind_int64(append, 1, revision);
  sqlite3_bind_int64(append, 2, key + 1);
  step(append);
  if (!replaced) return;
  stale[stale_count++] = replaced;
  if (stale_count % run_length == 0) qsort(stale + stale_count - run_length, run_length, sizeof *stale, by_number);
}

static void make_tables(void) {
  run(is_moving ? "CREATE TABLE register (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, version TEXT NOT NULL, value TEXT, "
                  "expires_at INTEGER, metadata TEXT, session TEXT, op TEXT, cause TEXT, committed_at INTEGER NOT NULL, "
                  "fence INTEGER NOT NULL DEFAULT 0, lease INTEGER, sealed BLOB, key_id TEXT) STRICT"
                : "CREATE TABLE log (revision INTEGER PRIMARY KEY, id INTEGER NOT NULL) STRICT;"
                  "CREATE TABLE register (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, committed_at INTEGER NOT NULL, "
                  "expires_at INTEGER, fence INTEGER NOT NULL, lease INTEGER, key TEXT NOT NULL, version TEXT NOT NULL, session TEXT, "
                  "op TEXT, cause TEXT, key_id TEXT, metadata TEXT, value TEXT, sealed BLOB) STRICT");
  run("CREATE UNIQUE INDEX register_key ON register (key);"
      "CREATE INDEX register_expiry ON register (expires_at) WHERE expires_at IS NOT NULL AND value IS NOT NULL;"
      "CREATE INDEX register_tombstone ON register (committed_at) WHERE value IS NULL;"
      "CREATE INDEX register_lease ON register (lease) WHERE lease > 1");
#define OTHERS "version=?3, value=?4, expires_at=NULL, metadata=NULL, session=NULL, op=NULL, cause=NULL, fence=0, lease=NULL, " \
               "sealed=NULL, key_id=NULL, committed_at=?1"
  if (is_moving) {
    insert = prepare("INSERT INTO register (revision, key, version, value, committed_at) VALUES (?1,?2,?3,?4,?1)");
    update = prepare("UPDATE register SET revision=?1, key=?2, " OTHERS " WHERE revision=?5");
  } else {
    insert = prepare("INSERT INTO register (id, revision, key, version, value, committed_at, fence) VALUES (?5,?1,?2,?3,?4,?1,0)");
    update = prepare("UPDATE register SET revision=?1, " OTHERS " WHERE id=?5 AND revision=?2");
    append = prepare("INSERT INTO log VALUES (?1,?2)");
    drop = prepare("DELETE FROM log WHERE revision=?1");
  }
}

static void measure_sqlite(const char *path, int batch, double limit, int keys) {
  static double times[10000000];
  long head = 0, commits = 0;
  database_path = path;
  unlink(path);
  if (sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, 0)) die(path);
  run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
  sqlite3_wal_hook(database, grew, 0);
  make_tables();
  sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
  step(begin);
  for (long key = 0; key < keys; key++) put(key, ++head);
  step(commit);
  sqlite3_wal_checkpoint_v2(database, 0, SQLITE_CHECKPOINT_TRUNCATE, 0, 0);
  pthread_t thread;
  pthread_create(&thread, 0, checkpoint, 0);
  double start = 0, used = 0, now;
  for (int wraps = 0; (now = seconds(CLOCK_MONOTONIC)), !start || now - start < limit;) {
    if (wraps >= 2 && !start) start = now, used = cpu(), frames = 0, commits = 0;
    step(begin);
    for (int i = 0; i < batch; i++) put(random() % keys, ++head);
    if (!is_moving) clean(2 * batch > 64 ? 2 * batch : 64);
    step(commit);
    times[commits++] = seconds(CLOCK_MONOTONIC) - now;
    if (is_rest) {
      is_rest = 0, wraps++;
      sqlite3_wal_checkpoint_v2(database, 0, SQLITE_CHECKPOINT_PASSIVE, 0, 0);
    }
  }
  double rows = (double)commits * batch, took = seconds(CLOCK_MONOTONIC) - start, spent = cpu() - used;
  qsort(times, commits, sizeof *times, ascending);
  printf("{\"rows_per_second\":%.0f,\"cpu_us\":%.2f,\"log_bytes_a_row\":%.0f,\"commit_p50_us\":%.0f,\"commit_p99_us\":%.0f,\"commit_max_ms\":%.1f}\n",
         rows / took, spent / rows * 1e6, frames * 4120.0 / rows, times[commits / 2] * 1e6, times[commits * 99 / 100] * 1e6,
         times[commits - 1] * 1e3);
  is_done = 1;
  pthread_join(thread, 0);
}

int main(int count, char **words) {
  if (count == 5 && !strcmp(words[1], "send")) measure_send(atoi(words[2]), atoi(words[3]), atof(words[4]));
  else if (count == 4 && !strcmp(words[1], "fsync")) measure_fsync(words[2], atof(words[3]));
  else if (count >= 5 && !strcmp(words[1], "sqlite")) {
    is_moving = count > 5 && !strcmp(words[5], "moving");
    int keys = count > 5 + is_moving ? atoi(words[5 + is_moving]) : 100000;
    if (keys < 1 || keys > maximum_keys) return 2;
    measure_sqlite(words[2], atoi(words[3]), atof(words[4]), keys);
  }
  else return fprintf(stderr, "usage: floor send SUBSCRIBERS BATCH SECONDS | fsync FILE SECONDS | sqlite FILE BATCH SECONDS [moving] [KEYS]\n"), 2;
  return 0;
}
