/* Makes writes fail where the caller closed standard output (`>&-`).
 *
 * Before main, Rust's runtime opens /dev/null for reading and writing in the place of a closed
 * standard stream, and what is written there is lost without an error (rust-lang/rust#57728). No
 * safe Rust runs before that. A /dev/null that is opened for reading alone stays as it is, and
 * writes to it fail with EBADF.
 */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void close_for_writing(void)
{
    if (fcntl(STDOUT_FILENO, F_GETFD) != -1)
        return;
    int null = open("/dev/null", O_RDONLY);
    /* If standard input is closed too, /dev/null was opened in its place. */
    if (null >= 0 && null != STDOUT_FILENO)
        dup2(null, STDOUT_FILENO);
    if (null > STDERR_FILENO)
        close(null);
}
