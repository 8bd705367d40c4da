// What Swift cannot call, since it takes any number of parameters. Not by sqlite3.h, which another module has.
int sqlite3_config(int option, ...);

/// Has SQLite count no memory, which it does under one lock for the whole process, at each allocation. Before anything else of SQLite's.
static inline int starling_count_no_memory(void) {
    const int memstatus = 9;
    return sqlite3_config(memstatus, 0);
}
