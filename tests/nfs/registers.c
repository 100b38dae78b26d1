// Lets a kernel in user mode run on processors that are younger than it.
//
// It saves a process's registers up to AVX-512 and puts them back when the process goes
// on. Where a processor has more, as AMX, Linux takes back only all of them. So this,
// loaded before the kernel's libc, lays what the kernel puts back over what is there;
// the rest stays, which no guest uses.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

// AMX brought it to 11,008.
#define REGISTERS_BYTES_MAX (64 * 1024)

typedef long trace(int, pid_t, void *, void *);

long ptrace(enum __ptrace_request request, ...)
{
    static trace *libc;
    static char registers[REGISTERS_BYTES_MAX];

    va_list list;
    va_start(list, request);
    pid_t process = va_arg(list, pid_t);
    void *address = va_arg(list, void *);
    void *data = va_arg(list, void *);
    va_end(list);

    if (!libc)
        libc = (trace *)dlsym(RTLD_NEXT, "ptrace");
    if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
        return libc(request, process, address, data);

    struct iovec given = *(struct iovec *)data;
    struct iovec all = {registers, sizeof registers};
    if (libc(PTRACE_GETREGSET, process, address, &all) < 0)
        return -1;
    memcpy(registers, given.iov_base, given.iov_len < all.iov_len ? given.iov_len : all.iov_len);
    return libc(request, process, address, &all);
}
