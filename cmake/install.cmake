# What `cmake --install` puts where, by component: packaging/debian makes a package of each.
include(GNUInstallDirs)
set(DSLAD_SYSTEMD_UNIT_DIR "${CMAKE_INSTALL_PREFIX}/lib/systemd/system" CACHE PATH "Where systemd's units go")

# Units and configuration name programs and models by the prefix that was configured, which --install --prefix cannot change any more.
set(dslad_models ${CMAKE_INSTALL_FULL_DATADIR}/dslad/models)
foreach(unit dslad.service dslad-worker@.service)
  configure_file(packaging/systemd/${unit}.in ${CMAKE_BINARY_DIR}/systemd/${unit} @ONLY)
endforeach()
foreach(worker cpu cuda0)
  configure_file(packaging/etc/worker-${worker}.toml.in ${CMAKE_BINARY_DIR}/etc/worker-${worker}.toml @ONLY)
endforeach()

install(TARGETS dslad dslactl RUNTIME COMPONENT dslad)
install(FILES docs/man/dslactl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT dslad)
install(FILES docs/man/dslad.toml.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 COMPONENT dslad)
install(FILES docs/man/dslad.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT dslad)
install(FILES packaging/etc/dslad.toml DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/dslad COMPONENT dslad)
install(FILES
    ${CMAKE_BINARY_DIR}/systemd/dslad.service
    packaging/systemd/dslad.socket packaging/systemd/dslad-events.socket packaging/systemd/dslad-workers.socket
    packaging/systemd/dslad.target
  DESTINATION ${DSLAD_SYSTEMD_UNIT_DIR} COMPONENT dslad)
if(systemd_VERSION VERSION_GREATER_EQUAL 253)
  configure_file(packaging/systemd/notify-reload.conf.in ${CMAKE_BINARY_DIR}/systemd/notify-reload.conf @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/systemd/notify-reload.conf
    DESTINATION ${DSLAD_SYSTEMD_UNIT_DIR}/dslad.service.d COMPONENT dslad)
endif()
install(FILES packaging/systemd/dslad.catalog DESTINATION lib/systemd/catalog COMPONENT dslad)
install(FILES packaging/systemd/dslad.sysusers DESTINATION lib/sysusers.d RENAME dslad.conf COMPONENT dslad)
install(FILES packaging/systemd/dslad.tmpfiles DESTINATION lib/tmpfiles.d RENAME dslad.conf COMPONENT dslad)
install(FILES packaging/monitoring/alerts.yml packaging/monitoring/grafana.json
  DESTINATION ${CMAKE_INSTALL_DATADIR}/dslad/monitoring COMPONENT dslad)
install(FILES packaging/systemd/tcp.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT dslad)
foreach(program dslad dslactl)
  install(FILES packaging/completions/dslad.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME ${program} COMPONENT dslad)
endforeach()
install(FILES packaging/completions/_dslad DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions COMPONENT dslad)

install(TARGETS dslad-worker dslad-model RUNTIME COMPONENT worker)
install(FILES packaging/systemd/dslad-worker.sysusers DESTINATION lib/sysusers.d RENAME dslad-worker.conf COMPONENT worker)
install(FILES docs/man/dslad-model.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT worker)
install(FILES docs/man/dslad-prompt.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 COMPONENT worker)
install(FILES docs/man/dslad-worker.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT worker)
install(FILES ${CMAKE_BINARY_DIR}/etc/worker-cpu.toml
  DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/dslad COMPONENT worker)
install(FILES ${CMAKE_BINARY_DIR}/systemd/dslad-worker@.service
  DESTINATION ${DSLAD_SYSTEMD_UNIT_DIR} COMPONENT worker)
foreach(program dslad-worker dslad-model)
  install(FILES packaging/completions/dslad.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME ${program} COMPONENT worker)
endforeach()

# The module for CUDA, and what a worker's unit must allow for it.
if(TARGET dslad_cuda)
  install(TARGETS dslad_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/dslad COMPONENT cuda)
  install(FILES ${CMAKE_BINARY_DIR}/etc/worker-cuda0.toml
    DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/dslad COMPONENT cuda)
  foreach(index RANGE 7)
    install(FILES packaging/systemd/dslad-worker-gpu.conf
      DESTINATION ${DSLAD_SYSTEMD_UNIT_DIR}/dslad-worker@cuda${index}.service.d RENAME gpu.conf COMPONENT cuda)
  endforeach()
endif()

install(DIRECTORY packaging/demo-model/model/ DESTINATION ${CMAKE_INSTALL_DATADIR}/dslad/models/demo COMPONENT demo)
install(DIRECTORY packaging/demo-model/documents/
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/dslad-model-demo/examples COMPONENT demo)

install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/dslad-doc COMPONENT doc)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/dslad-doc COMPONENT doc PATTERN man EXCLUDE)
