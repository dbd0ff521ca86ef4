# What the transports of our own ask the kernel for (Linux): sockets, and an epoll instance.
from libc.stdint cimport uint32_t
from posix.uio cimport iovec

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    int accept4(int descriptor, sockaddr *address, socklen_t *length, int flags)
    ssize_t recv(int descriptor, void *buffer, size_t length, int flags)
    ssize_t send(int descriptor, const void *buffer, size_t length, int flags)
    ssize_t sendmsg(int descriptor, const msghdr *message, int flags)
    int shutdown(int descriptor, int how)
    enum: AF_INET, AF_INET6, MSG_MORE, MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data:
        void *ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int instance, int operation, int descriptor, epoll_event *event)
    int epoll_wait(int instance, epoll_event *events, int size, int timeout)
    enum: EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    uint32_t EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
