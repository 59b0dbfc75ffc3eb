# The image has one file, the program, linked statically: there is nothing else in it to keep up to date. `deploy/image`
# builds the program and this. Directories are here so that the volumes on them belong to the user that runs the program.
FROM scratch
COPY --chown=10001:10001 root/ /
USER 10001:10001
ENTRYPOINT ["/synod"]
