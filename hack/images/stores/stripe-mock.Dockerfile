# Stand-in for stripe/stripe-mock where no registry answers: the folder has its binary, linked statically.
FROM scratch
COPY stripe-mock /stripe-mock
USER 65534
EXPOSE 12111
ENTRYPOINT ["/stripe-mock"]
