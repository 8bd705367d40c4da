/* What the machine itself can do, without a server: the floors that Benchmarks/compare measures Starling against.
 *
 *   floor send SUBSCRIBERS BATCH SECONDS   one frame of 190 bytes, BATCH of them at a time, by send() to each socket
 *   floor fsync FILE SECONDS               256 bytes over and over in a file that does not grow, and fdatasync
 *   floor sqlite FILE BATCH SECONDS        registers at random over 100,000 keys, BATCH to a commit, synchronous=FULL,
 *                                          in the tables and indexes of docs/decisions/0003
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
static volatile int is_done, is_due;

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

/* Checkpoints on a thread of its own, as Starling does. */
static void *checkpoint(void *unused) {
  sqlite3 *connection;
  sqlite3_open(database_path, &connection);
  while (!is_done) {
    if (is_due) sqlite3_wal_checkpoint_v2(connection, 0, SQLITE_CHECKPOINT_PASSIVE, 0, 0);
    is_due = 0;
    usleep(10000);
  }
  sqlite3_close(connection);
  return unused;
}

static int grew(void *unused, sqlite3 *connection, const char *name, int pages) {
  (void)unused, (void)connection, (void)name;
  if (pages >= 4000) is_due = 1;
  return SQLITE_OK;
}

static void put(sqlite3_stmt *write, long key, long revision, long replaced) {
  static char name[40], version[60], value[129];
  if (!*value) memset(value, 'x', 128);
  snprintf(name, sizeof name, "bench:abcdef:%ld", key);
  snprintf(version, sizeof version, "01a0c5d3e800-%04lx-agent-%ld", revision & 0xffff, key % 16);
  sqlite3_bind_int64(write, 1, revision);
  sqlite3_bind_text(write, 2, name, -1, SQLITE_STATIC);
  sqlite3_bind_text(write, 3, version, -1, SQLITE_STATIC);
  sqlite3_bind_text(write, 4, value, 128, SQLITE_STATIC);
  if (replaced) sqlite3_bind_int64(write, 5, replaced);
  step(write);
}

static void measure_sqlite(const char *path, int batch, double limit) {
  enum { keys = 100000 };
  static long revisions[keys];
  long head = 0, rows = 0;
  database_path = path;
  unlink(path);
  if (sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, 0)) die(path);
  run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
  sqlite3_wal_hook(database, grew, 0);
  run("CREATE TABLE register (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, version TEXT NOT NULL, value TEXT, "
      "expires_at INTEGER, metadata TEXT, session TEXT, op TEXT, cause TEXT, committed_at INTEGER NOT NULL, "
      "fence INTEGER NOT NULL DEFAULT 0, lease INTEGER, sealed BLOB, key_id TEXT) STRICT;"
      "CREATE UNIQUE INDEX register_key ON register (key);"
      "CREATE INDEX register_expiry ON register (expires_at) WHERE expires_at IS NOT NULL AND value IS NOT NULL;"
      "CREATE INDEX register_tombstone ON register (committed_at) WHERE value IS NULL;"
      "CREATE INDEX register_lease ON register (lease) WHERE lease > 1");
  sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
  sqlite3_stmt *insert = prepare("INSERT INTO register (revision, key, version, value, committed_at) VALUES (?1,?2,?3,?4,?1)");
  sqlite3_stmt *update = prepare("UPDATE register SET revision=?1, key=?2, version=?3, value=?4, expires_at=NULL, "
                                 "metadata=NULL, session=NULL, op=NULL, cause=NULL, fence=0, lease=NULL, sealed=NULL, "
                                 "key_id=NULL, committed_at=?1 WHERE revision=?5");
  step(begin);
  for (long key = 0; key < keys; key++) put(insert, key, revisions[key] = ++head, 0);
  step(commit);
  pthread_t thread;
  pthread_create(&thread, 0, checkpoint, 0);
  double start = seconds(CLOCK_MONOTONIC), used = cpu();
  while (seconds(CLOCK_MONOTONIC) - start < limit) {
    step(begin);
    for (int i = 0; i < batch; i++) {
      long key = random() % keys;
      put(update, key, head + 1, revisions[key]);
      revisions[key] = ++head;
      rows++;
    }
    step(commit);
  }
  printf("{\"rows_per_second\":%.0f,\"cpu_us\":%.2f}\n", rows / (seconds(CLOCK_MONOTONIC) - start), (cpu() - used) / rows * 1e6);
  is_done = 1;
  pthread_join(thread, 0);
}

int main(int count, char **words) {
  if (count == 5 && !strcmp(words[1], "send")) measure_send(atoi(words[2]), atoi(words[3]), atof(words[4]));
  else if (count == 4 && !strcmp(words[1], "fsync")) measure_fsync(words[2], atof(words[3]));
  else if (count == 5 && !strcmp(words[1], "sqlite")) measure_sqlite(words[2], atoi(words[3]), atof(words[4]));
  else return fprintf(stderr, "usage: floor send SUBSCRIBERS BATCH SECONDS | fsync FILE SECONDS | sqlite FILE BATCH SECONDS\n"), 2;
  return 0;
}
