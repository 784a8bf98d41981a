mod bench;
mod connect;
mod figures;
mod flow;
mod hostile;
mod limits;
mod publish;
mod subscribe;
